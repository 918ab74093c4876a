"""What bounds the mIoU of CAMs: each part of the truth, against masks that are counted by hand."""

import numpy as np
import pytest

from utils.scoring.bounds import Bounds, best_threshold, miou, miou_of_present

MASK = np.array([[0, 0, 1, 1], [0, 0, 2, 255]], np.uint8)
CAMS = {
    0: np.array([[0.1, 0.6, 0.3, 0.9], [0.0, 0.0, 0.8, 0.9]], np.float32),
    1: np.array([[0.0, 0.0, 0.2, 0.1], [0.0, 0.0, 0.7, 0.0]], np.float32),
}


def test_each_part_of_the_truth_is_taken_alone():
    bounds = Bounds(2, 0.5)
    bounds.add(CAMS, MASK, 0.25)
    # As it is: background 3 of 5, class 1: 1 of 4, class 2 is never found.
    assert miou(bounds.cases["nothing"]) == pytest.approx(100 * (3 / 5 + 1 / 4 + 0) / 3)
    assert miou(bounds.cases["class"]) == pytest.approx(100 * (3 / 5 + 1 / 3 + 1) / 3)
    assert miou(bounds.cases["threshold"]) == pytest.approx(100 * (3 / 4 + 2 / 4 + 0) / 3)
    assert miou(bounds.cases["background"]) == pytest.approx(100 * (1 + 2 / 3 + 0) / 3)
    assert np.isnan(miou_of_present(bounds.one))
    assert miou_of_present(bounds.several) == miou(bounds.cases["nothing"])


def test_the_best_threshold_of_an_image_has_most_pixels_right():
    threshold = best_threshold({0: CAMS[0]}, np.minimum(MASK, 1), 2)
    right = {t: ((CAMS[0] > t) == (np.minimum(MASK, 1) > 0)).sum() for t in (0.05, 0.25, 0.5, 0.7, 0.85)}
    assert ((CAMS[0] > threshold) == (np.minimum(MASK, 1) > 0)).sum() == max(right.values())


def test_counts_of_parts_add_up():
    whole, first, second = (Bounds(2, 0.5) for _ in range(3))
    for part in (first, second):
        part.add(CAMS, MASK, 0.25)
        whole.add(CAMS, MASK, 0.25)
    first.merge(second)
    assert all(np.array_equal(whole.cases[case].counts, first.cases[case].counts) for case in whole.cases)
    assert np.array_equal(whole.several.counts, first.several.counts)
