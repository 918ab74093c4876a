"""Flags: spelling, types, ranges, defaults of a recipe, and what is saved with a run."""

import dataclasses
import json
import math
from functools import partial

import pytest

from diffusion.guidance import GUIDANCE_MODES
from models.dig import CAM_KINDS
from utils.errors import InputError
from utils.experiment.saved import save_options
from utils.options.flags import build_parser, dashed, flag_name, make_options, parse_options, show
from utils.options.inference import InferOptions
from utils.options.results import EvaluationOptions, PseudoMaskOptions
from utils.options.training import DenoiserOptions, TrainOptions

ALL = (TrainOptions, DenoiserOptions, InferOptions, EvaluationOptions)


def train(*args: str, **defaults) -> TrainOptions:
    return parse_options(TrainOptions, ["--name", "run", *args], "train_trm.py", "Trains.", defaults)


@pytest.mark.parametrize(
    "args",
    [
        ("--batch-size", "4"),
        ("--batch_size", "4"),
        ("--batch-size=4",),
        ("--batch_size=4",),
    ],
)
def test_every_spelling_of_a_flag_sets_the_same_field(args):
    assert train(*args).batch_size == 4


def test_underscores_of_a_value_survive():
    assert train("--train_list=my_own_list").train_list == "my_own_list"


def test_underscores_of_a_separate_value_survive():
    assert train("--data_path", "/a_b/c_d").data_path == "/a_b/c_d"


def test_dashed_leaves_what_is_no_flag_alone():
    assert [dashed(a) for a in ("a_b", "-1", "--a_b_c=d_e=f_g")] == ["a_b", "-1", "--a-b-c=d_e=f_g"]


def test_flag_names_are_spelled_with_dashes():
    assert flag_name("load_epo") == "--load-epo"


def test_last_of_repeated_flags_wins():
    assert train("--epochs", "3", "--epochs=5").epochs == 5


def test_values_have_the_type_of_their_field():
    options = train("--epochs", "3", "--lr", "1", "--W", "1", "2", "3", "4", "5", "--feature-steps", "7", "9", "--resume")
    assert repr((options.epochs, options.lr, options.W, options.feature_steps, options.resume)) == repr(
        (3, 1.0, (1.0, 2.0, 3.0, 4.0, 5.0), (7, 9), True)
    )


def test_weights_of_some_losses_are_given_by_name():
    assert train("--W", "cls=2", "cam_consistency=0").W[:5] == (2, 1, 0, 1, 10)
    assert train("--W", "cls_diff=0.5", W=[3.0, 0.0, 1.0, 1.0, 2.0]).W[:5] == (3, 0, 1, 0.5, 2)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (("cls_dif=1",), r"--W knows no 'cls_dif': .*did you mean 'cls_diff'"),
        (("cls=1", "2"), "or NAME=NUMBER of some, not both: '2'"),
        (("cls=x",), "--W takes numbers, got 'x'"),
        (("cls=-1",), "--W must be at least 0, got -1"),
        (("1", "1", "1", "1"), r"--W takes \d values \(cls, pred_diff, .*\), got 4"),
    ],
)
def test_wrong_weights_of_losses_are_refused(values, message):
    with pytest.raises(InputError, match=message):
        train("--W", *values)


def test_choices_are_what_the_networks_know():
    choices = {f.name: f.metadata["choices"] for f in dataclasses.fields(TrainOptions)}
    assert (choices["guidance"], choices["cam"]) == (GUIDANCE_MODES, CAM_KINDS)


def test_defaults_are_those_of_the_paper():
    options = train()
    assert (options.epochs, options.batch_size, options.lr, options.weight_decay) == (60, 32, 5e-4, 0.05)
    assert (options.warmup_epochs, options.warmup_lr, options.min_lr) == (5, 1e-6, 1e-5)
    assert (options.W, options.T, options.A, options.start_epoch) == ((1, 1, 1, 1, 10), 5, 0.2, 10)
    assert (options.scale, options.ratio) == ((0.3, 1.2), (0.75, 4 / 3))
    assert (options.feature_steps, options.image_step) == ((0, 1, 2, 3, 4), 100)
    assert (options.input_size, options.patch_size, options.embed_dim, options.depth) == (224, 16, 384, 12)
    assert (options.num_heads, options.drop_path, options.val_from) == (6, 0.1, 9)


def test_learning_rate_scales_with_the_batch():
    assert train("--lr", "0.001", "--batch-size", "64").scaled_lr == pytest.approx(0.000125)


def test_architecture_is_what_the_network_is_built_from():
    assert train("--input-size=64", "--patch-size=8", "--embed-dim=32", "--depth=3", "--num-heads=4").architecture == {
        "image_size": 64,
        "patch_size": 8,
        "embed_dim": 32,
        "depth": 3,
        "num_heads": 4,
        "backbone": "",
        "backbone_options": {},
        "stem": "",
        "stem_levels": (),
        "cam": "refined",
        "spreads": 1,
    }


def test_folder_is_the_name_inside_experiments():
    assert train("--experiments", "/tmp/all").folder.parts == ("/", "tmp", "all", "run")


def test_options_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        train().epochs = 3


def test_recipe_defaults_replace_those_of_the_fields():
    assert train(epochs=7, W=[1.0, 1.0, 1.0, 1.0, 2.0]).W == (1.0, 1.0, 1.0, 1.0, 2.0)


def test_flags_override_recipe_defaults():
    options = train("--epochs", "9", epochs=7, batch_size=2)
    assert (options.epochs, options.batch_size) == (9, 2)


def test_flag_equal_to_the_field_default_overrides_a_recipe():
    assert train("--epochs", "60", epochs=7).epochs == 60


@pytest.mark.parametrize("cls", ALL)
def test_help_names_every_flag(cls):
    text = build_parser(cls, "script.py", "What it does.").format_help()
    assert all(flag_name(f.name) in text for f in dataclasses.fields(cls))


@pytest.mark.parametrize("cls", ALL)
def test_every_field_has_help(cls):
    assert all(f.metadata["help"] for f in dataclasses.fields(cls))


def test_help_leaves_with_success(capsys):
    with pytest.raises(SystemExit) as stop:
        train("--help")
    assert stop.value.code == 0
    assert "--batch-size" in capsys.readouterr().out


def test_show_writes_values_as_they_are_typed():
    assert [show(v) for v in ((0.3, 1.2), 4 / 3, 8e-5, 12, "off", (0, 1))] == [
        "0.3 1.2",
        "1.333",
        "8e-05",
        "12",
        "off",
        "0 1",
    ]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--epoch", "3"], "--epoch"),
        (["--epo", "3"], "--epo"),
        (["--W_cls", "3"], "--W-cls"),
        (["stray"], "stray"),
        (["--epochs"], "--epochs.*expected one argument"),
        (["--epochs", "1.5"], "--epochs.*invalid int value: '1.5'"),
        (["--lr", "fast"], "--lr.*invalid float value: 'fast'"),
        (["--resume=yes"], "--resume"),
        (["--scale", "0.5"], "--scale.*expected 2 arguments"),
    ],
)
def test_a_line_that_cannot_be_read_is_refused_by_name(args, message):
    with pytest.raises(InputError, match=message):
        train(*args)


def test_a_missing_required_flag_is_named():
    with pytest.raises(InputError, match="--name"):
        parse_options(TrainOptions, [], "train_trm.py", "Trains.")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--epochs", "0"], "--epochs must be at least 1, got 0"),
        (["--seed", "-1"], "--seed must be at least 0, got -1"),
        (["--seed", "2147483648"], "--seed must be at most 2147483647, got 2147483648"),
        (["--drop-path", "1"], r"--drop-path must be at most 0\.99, got 1\.0"),
        (["--A", "1.01"], r"--A must be at most 1, got 1\.01"),
        (["--T", "0"], r"--T must be at least 0\.01, got 0\.0"),
        (["--lr", "nan"], "--lr must be a finite number, got nan"),
        (["--W", "1", "1", "1", "1", "-2"], r"--W must be at least 0, got -2\.0"),
        (["--feature-steps", "0", "1000"], "--feature-steps must be at most 999, got 1000"),
        (["--num-workers", "257"], "--num-workers must be at most 256"),
        (["--load-epo", "-2"], "--load-epo must be at least -1"),
    ],
)
def test_numbers_out_of_range_are_refused_by_flag(args, message):
    cls = InferOptions if args[0] == "--load-epo" else TrainOptions
    with pytest.raises(InputError, match=message):
        parse_options(cls, ["--name", "run", *args], "script.py", "Runs.")


@pytest.mark.parametrize(
    ("flag", "value", "field"),
    [
        ("--epochs", "1", 1),
        ("--drop-path", "0.99", 0.99),
        ("--A", "0", 0.0),
        ("--A", "1", 1.0),
        ("--num-workers", "256", 256),
    ],
)
def test_the_ends_of_a_range_belong_to_it(flag, value, field):
    assert getattr(train(flag, value), flag[2:].replace("-", "_")) == field


@pytest.mark.parametrize(("flag", "value"), [("--amp", "fp8"), ("--device", "tpu")])
def test_a_value_that_is_no_choice_is_refused(flag, value):
    with pytest.raises(InputError, match=f"{flag}.*{value}"):
        train(flag, value)


def test_choices_also_hold_for_options_that_no_command_line_made():
    with pytest.raises(InputError, match="--amp must be one of off, bf16, fp16, got 'fp8'"):
        make_options(TrainOptions, {"name": "run", "amp": "fp8"})


@pytest.mark.parametrize("name", ["a/b", "..", ".", "a\\b"])
def test_name_must_not_leave_the_folder_of_experiments(name):
    with pytest.raises(InputError, match="--name must be a plain name without slashes"):
        make_options(TrainOptions, {"name": name})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"W": (1.0, 1.0)}, r"--W takes \d values .*, got 2"),
        ({"scale": (1.0, 0.5)}, r"--scale takes the smaller number first, got \(1\.0, 0\.5\)"),
        ({"ratio": (2.0, 1.0)}, "--ratio takes the smaller number first"),
        ({"input_size": 200}, "--input-size 200 must be a multiple of 8 and of --patch-size 16"),
        ({"input_size": 36, "patch_size": 4}, "--input-size 36 must be a multiple of 8"),
        ({"embed_dim": 100}, "--embed-dim 100 must be a multiple of 8 and of --num-heads 6"),
        ({"embed_dim": 12, "num_heads": 3}, "--embed-dim 12 must be a multiple of 8"),
        ({"diffusion_dim": 12}, "--diffusion-dim 12 must be a multiple of 8"),
        ({"feature_steps": (0, 1, 1)}, "--feature-steps and --image-step must all differ"),
        ({"feature_steps": (0, 100)}, "--feature-steps and --image-step must all differ"),
    ],
)
def test_flags_that_do_not_go_together_are_refused(values, message):
    with pytest.raises(InputError, match=message):
        make_options(TrainOptions, {"name": "run", **values})


@pytest.mark.parametrize(("values", "flag"), [({"dim": 20}, "--dim"), ({"image_size": 60}, "--image-size")])
def test_denoiser_sizes_must_be_multiples_of_8(values, flag):
    with pytest.raises(InputError, match=f"{flag} must be a multiple of 8"):
        make_options(DenoiserOptions, {"name": "run", "data": "images", **values})


def test_inference_that_would_write_nothing_is_refused():
    with pytest.raises(InputError, match="--dict, --vis or --crf"):
        parse_options(InferOptions, ["--name", "run"], "infer_trm.py", "Infers.")


@pytest.mark.parametrize("flag", ["--dict", "--vis", "--crf"])
def test_inference_takes_any_one_output(flag):
    options = parse_options(InferOptions, ["--name", "run", flag], "infer_trm.py", "Infers.")
    assert {name: getattr(options, name) for name in ("dict", "vis", "crf")} == {
        "dict": flag == "--dict",
        "vis": flag == "--vis",
        "crf": flag == "--crf",
    }


def test_evaluation_needs_no_flag():
    assert parse_options(EvaluationOptions, [], "evaluation.py", "Scores.").task == "cam"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--name x --bath-size 3", "unrecognized arguments: --bath-size 3; --bath-size (did you mean '--batch-size'?)"),
        ("--name x --epoch=3", "unrecognized arguments: --epoch=3; --epoch (did you mean '--epochs'?)"),
        ("--nmae x", "the following arguments are required: --name; --nmae (did you mean '--name'?)"),
        ("--name x --qqq", "unrecognized arguments: --qqq (see --help)"),
    ],
)
def test_a_misspelt_flag_is_told_which_was_meant(line, message):
    with pytest.raises(InputError) as caught:
        parse_options(TrainOptions, line.split(), "train_trm.py", "")
    assert str(caught.value).startswith(message)


def test_saved_options_are_plain_json(tmp_path):
    options = train("--experiments", str(tmp_path))
    options.folder.mkdir()
    save_options(options, ("cat",))
    content = json.loads((options.folder / "options.json").read_text())
    assert content["options"]["feature_steps"] == [0, 1, 2, 3, 4]
    assert content["classes"] == ["cat"]
    assert math.isclose(content["options"]["ratio"][1], 4 / 3)


@pytest.mark.parametrize("flags", [{"threshold": "0.4"}, {"low": 0.1, "high": 0.4}])
def test_a_threshold_that_nothing_uses_is_refused(flags):
    for make in (
        partial(PseudoMaskOptions, name="x", source="crf"),
        partial(InferOptions, name="x", png="crf"),
        partial(InferOptions, name="x", dict=True),
    ):
        with pytest.raises(InputError, match="are for masks of thresholded CAMs: they need --"):
            make(**flags)


def test_an_exponent_that_nothing_uses_is_refused():
    with pytest.raises(InputError, match="--alphas name CRF scores: they need --source crf"):
        PseudoMaskOptions(name="x", alphas=(4.0,))
