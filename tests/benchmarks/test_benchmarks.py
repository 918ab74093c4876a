"""The benchmarks' arithmetic and rows; what they measure depends on the machine."""

from collections.abc import Iterator

import pytest
import torch

from benchmarks import evaluation, inference
from benchmarks.__main__ import BATCH, GPUS, SHARES, estimates
from benchmarks.measure import Measurement, Timing, is_faster, report, timed
from benchmarks.training import kept_bytes
from utils.errors import InputError


def test_a_row_has_the_share_of_the_matrix_rate():
    row = str(Measurement("work", 2.0, 3e9, 6e9, 5 * 10**8))
    assert row == "| work | 2.000 | 3 | 25% of 6 GFLOP/s | 0.50 GB |"


def test_what_is_no_arithmetic_has_no_share():
    assert str(Measurement("work", 0.5)) == "| work | 0.500 |  |  |  |"


def test_notes_stand_below_the_table():
    assert report(Measurement("a", 1.0), Measurement("b", 1.0, note="said")).splitlines()[-2:] == ["", "- b: said"]


def test_each_call_is_compared_with_the_yardstick_before_it(monkeypatch):
    now = 0.0
    monkeypatch.setattr("benchmarks.measure.time.perf_counter", lambda: now)

    def pass_time(seconds: Iterator[float]) -> None:
        nonlocal now
        now += next(seconds)

    work, yardstick = iter((9.0, 6.0, 4.0)), iter((9.0, 2.0, 3.0, 4.0, 1.0, 2.0, 2.0))  # the warm-up calls take 9
    timing = timed(lambda: pass_time(work), lambda: pass_time(yardstick), repeats=2)
    assert (timing.seconds, timing.yardstick, timing.ratios) == (4.0, 1.0, (3.0, 4.0))
    assert timing.of(2).ratios == (1.5, 2.0)


def test_a_type_that_is_slower_than_float32_is_told(monkeypatch):
    monkeypatch.setattr("benchmarks.measure.timed", lambda work, yardstick, repeats: Timing(2.0, 1.0, (2.0,)))
    assert not is_faster(torch.device("cpu"), torch.bfloat16)


def test_estimates_scale_with_the_work_and_fall_with_the_rate():
    step = Measurement("training step per image, cpu in float32, exact", 9.0, 1e12, 1e11)
    (row,) = estimates([step]).splitlines()[2:]
    tf32, _ = next(iter(GPUS.values()))
    assert f"{BATCH * 1e12 / (tf32 * max(SHARES)):.1f} to {BATCH * 1e12 / (tf32 * min(SHARES)):.1f} s" in row


def test_what_is_kept_for_the_backward_pass_is_counted_once_and_without_weights():
    layer = torch.nn.Linear(8, 8, bias=False)
    x = torch.randn(4, 8, requires_grad=True)
    # The product keeps x, and the square its result: 4 x 8 floats each.
    assert kept_bytes(lambda: layer(x).square().sum(), layer) == 2 * 4 * 8 * 4


def test_both_sizes_of_cams_are_scored_and_score_the_same():
    full, patch = evaluation.measure(["--images", "4", "--repeats", "1"])
    assert full.ratios[0] > 1
    assert "full-size" in full.work
    assert patch.note == "mIoU at most 0.000000 points from full-size CAMs'"


def test_a_backbone_is_measured_in_the_place_of_deit():
    measured = inference.measure(["--backbone", "test_vit", "--size", "160", "160", "--repeats", "1", "--device", "cpu"])
    assert measured.work == "test_vit: CAM of a 160 x 160 image with mirror, cpu in float32"
    assert 0 < measured.flops < 1e9


def test_flags_are_for_the_parts(monkeypatch):
    from benchmarks.__main__ import main

    with pytest.raises(InputError, match="python -m benchmarks takes no flags, got --device"):
        main(["--device", "cpu"])
