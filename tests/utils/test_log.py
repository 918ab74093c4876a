"""The log of a run: terminal, file and TensorBoard."""

import io
import re
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from utils.errors import InputError
from utils.log import RunLog, progress, require_wandb, wandb_file


def test_lines_go_to_the_terminal_as_they_are(tmp_path, capsys):
    with RunLog(tmp_path) as log:
        log.info("epoch 3 done")
    assert "epoch 3 done\n" in capsys.readouterr().out


def test_lines_go_to_the_file_with_the_time(tmp_path):
    with RunLog(tmp_path) as log:
        log.info("epoch 3 done")
        log.info("29.5 °C")
    lines = (tmp_path / "log.txt").read_text(encoding="utf-8").splitlines()
    assert [re.sub(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} ", "", line) for line in lines] == ["epoch 3 done", "29.5 °C"]
    assert lines[0] != "epoch 3 done"


def test_a_second_log_of_the_same_folder_continues_the_file(tmp_path):
    for message in ("first", "second"):
        with RunLog(tmp_path) as log:
            log.info(message)
    assert [line.split()[-1] for line in (tmp_path / "log.txt").read_text().splitlines()] == ["first", "second"]


def test_two_logs_do_not_mix(tmp_path):
    with RunLog(tmp_path / "a") as first, RunLog(tmp_path / "b") as second:
        first.info("of the first")
        second.info("of the second")
    assert "second" not in (tmp_path / "a" / "log.txt").read_text()
    assert "first" not in (tmp_path / "b" / "log.txt").read_text()


def test_the_folder_is_made(tmp_path):
    with RunLog(tmp_path / "deep" / "run"):
        pass
    assert (tmp_path / "deep" / "run" / "log.txt").exists()


def test_errors_inside_the_log_are_not_hidden(tmp_path):
    with pytest.raises(ZeroDivisionError), RunLog(tmp_path):
        1 / 0  # noqa: B018


def test_scalars_are_read_back_by_tensorboard(tmp_path):
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    with RunLog(tmp_path) as log:
        log.scalars({"loss/cls": 0.5, "lr": 1e-3}, 10)
        log.scalars({"loss/cls": 0.25}, 20)
    reader = events.EventAccumulator(str(tmp_path))
    reader.Reload()
    assert [(e.step, e.value) for e in reader.Scalars("loss/cls")] == [(10, 0.5), (20, 0.25)]
    assert [(e.step, e.value) for e in reader.Scalars("lr")] == [(10, pytest.approx(1e-3))]


def test_pictures_are_read_back_by_tensorboard(tmp_path):
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    picture = np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8)
    with RunLog(tmp_path) as log:
        log.pictures({"cams/a": picture}, 10)
        log.pictures({"cams/a": picture}, 20)
    reader = events.EventAccumulator(str(tmp_path))
    reader.Reload()
    found = reader.Images("cams/a")
    assert [event.step for event in found] == [10, 20]
    np.testing.assert_array_equal(np.array(Image.open(io.BytesIO(found[0].encoded_image_string))), picture)


def test_a_run_goes_on_where_events_cannot_be_written(tmp_path, monkeypatch, capsys):
    from torch.utils.tensorboard import SummaryWriter

    def fail(self, *args, **how):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(SummaryWriter, "add_scalar", fail)
    with RunLog(tmp_path) as log:
        log.scalars({"loss": 1.0}, 1)
        log.scalars({"loss": 2.0}, 2)
    assert capsys.readouterr().out.count("the run goes on without them: [Errno 28] No space left on device") == 1


def test_a_silent_log_writes_no_events(tmp_path):
    with RunLog(tmp_path / "run", silent=True) as log:
        log.scalars({"lr": 1e-3}, 1)
        log.pictures({"cams/a": np.zeros((4, 6, 3), np.uint8)}, 1)
    assert not (tmp_path / "run").exists()


def test_progress_passes_everything_on():
    assert list(progress(iter("abc"), "letters", total=3)) == ["a", "b", "c"]


def test_progress_is_silent_where_standard_error_is_no_terminal(capfd):
    list(progress(range(3), "numbers"))
    assert capfd.readouterr() == ("", "")


def test_progress_knows_its_length():
    assert len(progress(range(7), "numbers")) == 7


@pytest.fixture
def wandb(monkeypatch) -> SimpleNamespace:
    """A stand-in for the package wandb; it keeps what is sent."""
    kept = SimpleNamespace(starts=[], rows=[], exits=[], trouble=None)

    def log(values):
        if kept.trouble:
            raise kept.trouble
        kept.rows.append(values)

    def init(**arguments):
        if kept.trouble:
            raise kept.trouble
        kept.starts.append(arguments)
        finish = lambda exit_code: kept.exits.append(exit_code)  # noqa: E731
        return SimpleNamespace(
            log=log, finish=finish, define_metric=lambda *_, **__: None, offline=False, url="https://there", dir=""
        )

    module = ModuleType("wandb")
    module.init, module.Settings, module.Error = init, lambda **values: values, type("Error", (Exception,), {})
    module.Image = lambda picture: ("image", picture.shape)
    monkeypatch.setitem(sys.modules, "wandb", module)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: module)
    kept.Error = module.Error
    return kept


def test_wandb_is_neither_imported_nor_asked_for_without_a_project(tmp_path, wandb):
    with RunLog(tmp_path) as log:
        log.start_wandb("", "run", {})
        log.scalars({"lr": 1e-3}, 1)
    assert not wandb.starts
    assert not wandb_file(tmp_path).exists()


def test_wandb_gets_values_and_pictures_with_their_step(tmp_path, wandb):
    with RunLog(tmp_path) as log:
        log.start_wandb("project", "run", {"lr": 0.1})
        log.scalars({"loss/cls": 0.5, "lr": 1e-3}, 10)
        log.pictures({"cams/a": np.zeros((4, 6, 3), np.uint8)}, 20)
    (start,) = wandb.starts
    assert (start["project"], start["name"], start["config"]) == ("project", "run", {"lr": 0.1})
    assert wandb.rows == [
        {"loss/cls": 0.5, "lr": 1e-3, "step": 10},
        {"cams/a": ("image", (4, 6, 3)), "step": 20},
    ]
    assert wandb.exits == [0]


def test_a_resumed_run_goes_on_in_the_same_wandb_run_and_another_folder_does_not(tmp_path, wandb):
    for folder in ("a", "a", "b"):
        with RunLog(tmp_path / folder) as log:
            log.start_wandb("project", "run", {})
    first, again, other = [start["id"] for start in wandb.starts]
    assert first == again != other
    assert {start["resume"] for start in wandb.starts} == {"allow"}


def test_wandb_is_told_of_a_run_that_failed(tmp_path, wandb):
    log = RunLog(tmp_path)
    log.start_wandb("project", "run", {})
    with pytest.raises(ZeroDivisionError), log:
        1 / 0  # noqa: B018
    assert wandb.exits == [1]


def test_a_run_goes_on_where_wandb_fails(tmp_path, wandb, capsys):
    with RunLog(tmp_path) as log:
        log.start_wandb("project", "run", {})
        wandb.trouble = ConnectionError("no network")
        log.scalars({"lr": 1e-3}, 1)
        log.scalars({"lr": 1e-3}, 2)
    printed = capsys.readouterr().out
    assert printed.count("warning: wandb has failed, the run goes on without it: no network") == 1
    assert list(tmp_path.glob("events.out.tfevents.*"))


def test_wandb_that_cannot_start_is_told_in_a_line(tmp_path, wandb):
    wandb.trouble = wandb.Error("no API key\nconfigured")
    with pytest.raises(InputError, match=r"^--wandb project: wandb cannot start: no API key configured; WANDB_MODE=offline"):
        RunLog(tmp_path).start_wandb("project", "run", {})
    assert not wandb_file(tmp_path).exists()


def test_all_processes_but_the_main_one_leave_wandb_alone(tmp_path, wandb):
    with RunLog(tmp_path, silent=True) as log:
        log.start_wandb("project", "run", {})
        log.scalars({"lr": 1e-3}, 1)
    assert not wandb.starts


def test_wandb_that_is_missing_is_told_in_a_line(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    require_wandb("")
    with pytest.raises(InputError, match=r"^--wandb needs the package wandb: pip install -r requirements-wandb\.txt$"):
        require_wandb("project")
