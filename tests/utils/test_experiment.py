"""Folders of experiments: protected from being overwritten, and read by inference and evaluation."""

import dataclasses
import json
import shutil
from pathlib import Path

import pytest

from utils.errors import InputError
from utils.experiment import (
    add_score,
    epoch_file,
    latest_epoch,
    open_experiment,
    parse_run,
    read_scores,
    run_of,
    scores_file,
    start_run,
)
from utils.options.flags import make_options
from utils.options.recipes import RECIPES
from utils.options.training import TrainOptions, load_run


def options_in(folder: Path, **values) -> TrainOptions:
    return make_options(TrainOptions, {"name": "run", "experiments": str(folder), **values})


def make_run(folder: Path) -> Path:
    """An experiment that holds checkpoints; returns its folder."""
    ckpt = folder / "run" / "ckpt"
    ckpt.mkdir(parents=True)
    for name in ("last.pth", "003net_trm.pth", "note.txt"):
        (ckpt / name).write_text(name)
    return folder / "run"


def test_weights_of_an_epoch_have_a_name_of_three_digits():
    assert epoch_file(Path("run"), 19) == Path("run/ckpt/019net_trm.pth")


def test_latest_epoch_is_the_largest_number(tmp_path):
    (tmp_path / "ckpt").mkdir()
    found = []
    for epoch in (9, 8, 100, 59, 1000, 7, 500):
        epoch_file(tmp_path, epoch).touch()
        found.append(latest_epoch(tmp_path))
    assert found == [9, 9, 100, 100, 1000, 1000, 1000]


def test_latest_epoch_passes_over_other_files(tmp_path):
    (tmp_path / "ckpt").mkdir()
    for name in ("004net_trm.pth", "last.pth", "099net_trm.pth.tmp", "best-100net_trm.pth"):
        (tmp_path / "ckpt" / name).touch()
    assert latest_epoch(tmp_path) == 4


def test_an_experiment_without_weights_is_refused_with_what_else_will_do(tmp_path):
    with pytest.raises(InputError, match=r"ckpt holds no <epoch>net_trm\.pth; train first or give --weights FILE"):
        latest_epoch(tmp_path)


def test_opening_makes_the_folder(tmp_path):
    open_experiment(options_in(tmp_path / "deep" / "er"))
    assert (tmp_path / "deep" / "er" / "run").is_dir()


def test_opening_returns_where_the_last_checkpoint_belongs(tmp_path):
    assert open_experiment(options_in(tmp_path)) == tmp_path / "run" / "ckpt" / "last.pth"


def test_a_folder_without_checkpoint_may_be_opened_again(tmp_path):
    open_experiment(options_in(tmp_path))
    assert not open_experiment(options_in(tmp_path)).exists()


def test_checkpoints_without_a_run_are_not_overwritten_by_accident(tmp_path):
    make_run(tmp_path)
    with pytest.raises(InputError, match=r"last\.pth exists, and there is no run to continue: --overwrite starts afresh"):
        open_experiment(options_in(tmp_path))


def parse(folder: Path, *args: str, restarted_job: str = "") -> TrainOptions:
    args = f"--name run --experiments {folder}".split() + list(args)
    return parse_run(TrainOptions, args, "train_trm.py", "", {"epochs": 7}, restarted_job)


def test_the_same_command_continues_its_run(tmp_path):
    assert not parse(tmp_path, "--lr", "0.5").resume
    make_run(tmp_path)
    start_run(parse(tmp_path, "--lr", "0.5"), ("cat",))
    assert parse(tmp_path, "--lr", "0.5", "--num-workers", "3") == dataclasses.replace(
        options_in(tmp_path, lr=0.5, epochs=7, num_workers=3), resume=True
    )


def test_another_command_of_the_same_name_is_refused_with_what_it_would_change(tmp_path):
    make_run(tmp_path)
    start_run(parse(tmp_path, "--lr", "0.5"), ("cat",))
    with pytest.raises(
        InputError, match=r"run holds a run with --lr 0\.5: --resume continues it .*, --overwrite starts afresh"
    ):
        parse(tmp_path)


def test_a_restart_does_not_overwrite_what_the_first_start_has_done(tmp_path):
    make_run(tmp_path)
    start_run(parse(tmp_path), ("cat",), job="7")
    again = parse(tmp_path, "--overwrite", restarted_job="7")
    assert (again.resume, again.overwrite) == (True, False)
    assert parse(tmp_path, "--overwrite").overwrite


def test_a_restart_overwrites_what_the_first_start_did_not_get_to(tmp_path):
    make_run(tmp_path)
    start_run(parse(tmp_path), ("cat",), job="an earlier one")
    again = parse(tmp_path, "--overwrite", restarted_job="7")
    assert (again.resume, again.overwrite) == (False, True)


@pytest.mark.parametrize("flags", ["--data-path elsewhere --keep 2", "--grad_checkpoint --update_in_backward"])
def test_a_resumed_run_may_change_places_and_what_its_weights_do_not_depend_on(tmp_path, flags):
    make_run(tmp_path)
    start_run(parse(tmp_path), ("cat",))
    assert parse(tmp_path, "--resume", *flags.split()).resume
    assert parse(tmp_path, *flags.split()).resume


@pytest.mark.parametrize("flags", ["--amp bf16", "--seed 1", "--accum 2", "--drop-path 0", "--val_list val"])
def test_a_resumed_run_keeps_what_its_weights_or_scores_depend_on(tmp_path, flags):
    make_run(tmp_path)
    start_run(parse(tmp_path), ("cat",))
    with pytest.raises(InputError, match=f"a resumed run keeps its options.* has {flags.split()[0].replace('_', '-')} "):
        parse(tmp_path, "--resume", *flags.split())


def test_resuming_leaves_processes_and_device_to_the_command_line(tmp_path):
    make_run(tmp_path)
    start_run(parse(tmp_path, "--nproc", "2", "--device", "cpu"), ("cat",))
    again = parse(tmp_path, "--resume")
    assert (again.resume, again.nproc, again.device) == (True, 0, "auto")


def test_resuming_finds_the_last_checkpoint(tmp_path):
    make_run(tmp_path)
    assert open_experiment(options_in(tmp_path, resume=True)).read_text() == "last.pth"


def test_resuming_nothing_is_refused_by_file_and_makes_no_folder(tmp_path):
    args = f"--name run --experiments {tmp_path} --resume".split()
    with pytest.raises(InputError, match=r"last\.pth is missing: there is no run to resume"):
        parse_run(TrainOptions, args, "train_trm.py", "", {})
    assert not (tmp_path / "run").exists()


def test_resume_and_overwrite_exclude_each_other(tmp_path):
    make_run(tmp_path)
    with pytest.raises(InputError, match="--resume and --overwrite exclude each other"):
        open_experiment(options_in(tmp_path, resume=True, overwrite=True))


def test_opening_to_overwrite_removes_nothing_yet(tmp_path):
    folder = make_run(tmp_path)
    open_experiment(options_in(tmp_path, overwrite=True))
    assert len(list((folder / "ckpt").iterdir())) == 3


def test_starting_to_overwrite_removes_the_checkpoints_alone(tmp_path):
    folder = make_run(tmp_path)
    start_run(options_in(tmp_path, overwrite=True), ("cat",))
    assert [p.name for p in (folder / "ckpt").iterdir()] == ["note.txt"]


def test_starting_without_overwrite_keeps_the_checkpoints(tmp_path):
    folder = make_run(tmp_path)
    start_run(options_in(tmp_path, resume=True), ("cat",))
    assert len(list((folder / "ckpt").iterdir())) == 3


@pytest.mark.parametrize(("resume", "left"), [(True, True), (False, False)])
def test_a_new_run_in_a_folder_whose_weights_were_deleted_has_no_scores_of_the_old_one(tmp_path, resume, left):
    (tmp_path / "run").mkdir()
    old = [tmp_path / "run" / name for name in ("scores.json", "events.out.tfevents.1")]
    for path in old:
        path.write_text("{}")
    start_run(options_in(tmp_path, resume=resume), ("cat",))
    assert [path.exists() for path in old] == [left, left]


def test_starting_saves_the_options(tmp_path):
    options = options_in(tmp_path, epochs=3)
    open_experiment(options)
    start_run(options, ("cat", "dog"))
    assert load_run(options.folder) == (options, ("cat", "dog"))


def saved_run(folder: Path, **values) -> TrainOptions:
    options = options_in(folder, **values)
    open_experiment(options)
    start_run(options, ("cat", "dog"))
    return options


def test_inference_takes_the_options_and_classes_of_the_run(tmp_path):
    options = saved_run(tmp_path, exp="dig_nano", depth=3, data_path="here")
    assert run_of(options.folder, "", "") == (options, ("cat", "dog"))


def test_inference_may_name_the_recipe_of_the_run(tmp_path):
    options = saved_run(tmp_path, exp="dig_nano")
    assert run_of(options.folder, "dig_nano", "")[0] == options


def test_inference_with_another_recipe_than_the_run_is_refused(tmp_path):
    options = saved_run(tmp_path, exp="dig_nano")
    with pytest.raises(InputError, match=r"options\.json says --exp dig_nano, not dig_eccv24"):
        run_of(options.folder, "dig_eccv24", "")


def test_inference_may_replace_the_data_and_the_list(tmp_path):
    options = saved_run(tmp_path, data_path="here", val_list="train")
    changed, _ = run_of(options.folder, "", "there", "val")
    assert (changed.data_path, changed.val_list, changed.epochs) == ("there", "val", options.epochs)


def test_empty_flags_keep_the_data_and_the_list_of_the_run(tmp_path):
    options = saved_run(tmp_path, data_path="here", val_list="mine")
    kept, _ = run_of(options.folder, "", "", "")
    assert (kept.data_path, kept.val_list) == ("here", "mine")


def test_weights_put_in_a_folder_by_hand_take_the_recipe(tmp_path):
    options, classes = run_of(tmp_path / "by_hand", "dig_nano", "")
    assert (options.name, options.depth, options.embed_dim) == ("by_hand", 4, 128)
    assert options.infer_size == RECIPES["dig_nano"].train["infer_size"]
    assert classes is None


def test_weights_put_in_a_folder_by_hand_take_the_paper_recipe_where_none_is_named(tmp_path):
    options, _ = run_of(tmp_path / "by_hand", "", "there", "val")
    assert (options.depth, options.embed_dim, options.data_path, options.val_list) == (12, 384, "there", "val")


def test_an_unknown_recipe_for_weights_put_in_by_hand_is_refused(tmp_path):
    with pytest.raises(InputError, match="--exp dig_mega is no recipe"):
        run_of(tmp_path / "by_hand", "dig_mega", "")


def test_scores_are_kept_by_epoch(tmp_path):
    first, second = ({"miou": 10.0 + e, "threshold": 0.1, "map": 30.0, "f1": 20.0} for e in (0, 1))
    add_score(tmp_path, 9, first)
    add_score(tmp_path, 19, second)
    assert read_scores(tmp_path) == {"9": first, "19": second}


def test_scores_of_earlier_versions_are_read_and_kept(tmp_path):
    old = {"miou": 10.0, "threshold": 0.1}
    scores_file(tmp_path).write_text(json.dumps({"9": old}))
    assert read_scores(tmp_path) == {"9": old}
    new = {"miou": 11.0, "threshold": 0.2, "map": 30.0, "f1": 20.0}
    add_score(tmp_path, 19, new)
    assert read_scores(tmp_path) == {"9": old, "19": new}


@pytest.mark.parametrize(
    "damaged", ['{"9": {"miou": 1}}', '{"9": {"miou": 1, "threshold": 0, "map": "x"}}', '{"9": 3}', "[1]"]
)
def test_damaged_scores_are_refused_in_one_line(tmp_path, damaged):
    scores_file(tmp_path).write_text(damaged)
    with pytest.raises(InputError, match=r"scores\.json cannot be read: .*; remove it to score anew"):
        read_scores(tmp_path)


def test_a_copied_project_resumes_its_own_copy(tmp_path):
    make_run(tmp_path / "old")
    start_run(parse(tmp_path / "old"), ("cat",))
    shutil.copytree(tmp_path / "old", tmp_path / "new")
    assert parse(tmp_path / "new", "--resume").folder == tmp_path / "new" / "run"


def test_inference_takes_the_white_level_of_the_training_images_unless_one_is_named(tmp_path):
    start_run(options_in(tmp_path), ("cat",), white=4095.0)
    assert load_run(tmp_path / "run")[0].white_level == 4095
    assert not parse(tmp_path).white_level
    start_run(options_in(tmp_path, white_level=1023.0), ("cat",), white=4095.0)
    assert load_run(tmp_path / "run")[0].white_level == 1023
