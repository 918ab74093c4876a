"""Losses of a report, read from the log of a run."""

from types import SimpleNamespace

import pytest
import torch

from tests.helpers.log_lines import log_line
from tests.helpers.toy_data import write_lines
from tools.report.history import MOST_POINTS, read_losses
from utils.log import RunLog
from utils.training.engine import Training


def test_losses_are_read_as_training_logs_them(tmp_path):
    with RunLog(tmp_path) as log:
        training = SimpleNamespace(
            waiting=[(torch.tensor([0.25, 0.5]), [0])],
            log=log,
            sums={},
            epoch=2,
            steps_done=1,
            optimizer=SimpleNamespace(param_groups=[{"lr": 1e-7}]),
        )
        Training.report(training, ["cls", "pred_diff"], range(4), 0.1)
    assert read_losses(tmp_path / "log.txt") == {"total": [(2.25, 0.75)], "cls": [(2.25, 0.25)], "pred_diff": [(2.25, 0.5)]}


def test_steps_that_were_taken_anew_after_a_kill_count_once(tmp_path):
    lines = [log_line(0, s, f"total {v} cls {v}") for s, v in ((5, 3), (10, 2))]
    lines += ["t resuming after step 5 of epoch 0 from last.pth", log_line(0, 10, "total 1 cls 1")]
    assert read_losses(write_lines(tmp_path / "log.txt", *lines))["total"] == [(0.5, 3), (1, 1)]


def test_a_run_that_was_started_afresh_counts_alone(tmp_path):
    start = "2026-01-01 00:00:00,000 dig_nano on cpu in float32, 20 classes of data"
    lines = [start, log_line(0, 1, "total 9 cls 9"), start, log_line(0, 5, "total 3 cls 3")]
    assert read_losses(write_lines(tmp_path / "log.txt", *lines))["total"] == [(0.5, 3)]


@pytest.mark.parametrize("losses", ["total nan cls nan", "total 1 cls", "total x cls x", "cls 1"])
def test_lines_that_are_no_losses_are_passed_over(tmp_path, losses):
    assert read_losses(write_lines(tmp_path / "log.txt", log_line(0, 1, losses), log_line(1, 1, "total 1 cls 1", 0))) == {}


def test_long_curves_are_thinned_to_means(tmp_path):
    steps = 3 * MOST_POINTS
    path = write_lines(tmp_path / "log.txt", *(log_line(0, s + 1, f"total {s % 3} cls 1", steps) for s in range(steps)))
    curve = read_losses(path)["total"]
    assert len(curve) == MOST_POINTS
    assert {value for _, value in curve} == {1}
    assert curve[-1][0] == 1
