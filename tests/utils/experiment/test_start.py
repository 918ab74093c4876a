"""A training run starts or goes on, and protects what its folder holds."""

import dataclasses
import shutil
from pathlib import Path

import pytest

from utils.errors import InputError
from utils.experiment.saved import load_run
from utils.experiment.start import open_experiment, parse_run, start_run
from utils.options.flags import make_options
from utils.options.training import TrainOptions


def options_in(folder: Path, **values) -> TrainOptions:
    return make_options(TrainOptions, {"name": "run", "experiments": str(folder), **values})


def make_run(folder: Path) -> Path:
    """An experiment that holds checkpoints; returns its folder."""
    ckpt = folder / "run" / "ckpt"
    ckpt.mkdir(parents=True)
    for name in ("last.pth", "003net_trm.pth", "note.txt"):
        (ckpt / name).write_text(name)
    return folder / "run"


def parse(folder: Path, *args: str, restarted_job: str = "") -> TrainOptions:
    args = f"--name run --experiments {folder}".split() + list(args)
    return parse_run(TrainOptions, args, "train_trm.py", "", {"epochs": 7}, restarted_job)


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
