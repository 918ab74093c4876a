"""What a run was trained with, as inference and evaluation read it."""

from pathlib import Path

import pytest

from utils.errors import InputError
from utils.experiment.saved import load_run, run_of, save_options
from utils.experiment.start import open_experiment, start_run
from utils.options.flags import make_options
from utils.options.recipes import RECIPES
from utils.options.training import DenoiserOptions, TrainOptions


def options_in(folder: Path, **values) -> TrainOptions:
    return make_options(TrainOptions, {"name": "run", "experiments": str(folder), **values})


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


def test_saved_options_reload_equal(tmp_path):
    options = options_in(tmp_path, W=(1.0, 2.0, 3.0, 4.0, 0.1), feature_steps=(5,), overwrite=True, lr=3e-7)
    options.folder.mkdir()
    save_options(options, ("cat", "dog"))
    assert load_run(options.folder) == (options, ("cat", "dog"))


def test_reloaded_options_check_their_ranges(tmp_path):
    options = options_in(tmp_path)
    options.folder.mkdir()
    save_options(options, ("cat",))
    path = options.folder / "options.json"
    path.write_text(path.read_text().replace('"epochs": 60', '"epochs": 0'))
    with pytest.raises(InputError, match="epochs must be at least 1, got 0"):
        load_run(options.folder)


def test_a_folder_without_options_holds_no_run(tmp_path):
    assert load_run(tmp_path) is None


@pytest.mark.parametrize(
    "text",
    [
        '{"options": {"na',
        "[1, 2]",
        '{"classes": ["cat"]}',
        '{"options": {"name": "run"}}',
        '{"options": {"name": "run", "flag_of_tomorrow": 1}, "classes": ["cat"]}',
        '{"options": {}, "classes": ["cat"]}',
    ],
    ids=["cut", "list", "no options", "no classes", "unknown flag", "no name"],
)
def test_options_of_no_run_are_refused_by_file(tmp_path, text):
    (tmp_path / "options.json").write_text(text)
    with pytest.raises(InputError, match=r"options\.json is not the options of a run"):
        load_run(tmp_path)


def test_options_of_the_denoiser_are_not_taken_for_those_of_a_run(tmp_path):
    options = make_options(DenoiserOptions, {"name": "denoiser", "data": "images", "experiments": str(tmp_path)})
    options.folder.mkdir()
    save_options(options, ())
    with pytest.raises(InputError, match=r"options\.json is not the options of a run"):
        load_run(options.folder)
