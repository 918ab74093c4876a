"""Scores of single images in a report, and which images are shown."""

import numpy as np
import pytest

from tools.report.scoring import examples, score_images, sweep_image
from utils.scoring.metrics import ThresholdSweep


def test_counts_of_single_images_add_up_to_those_of_all():
    rng = np.random.default_rng(0)
    samples = {}
    for name in "abc":
        classes = rng.choice(9, 2, replace=False)
        mask = rng.choice([0, 255, *(classes + 1)], (8, 9)).astype(np.uint8)
        samples[name] = {int(c): rng.random((8, 9), np.float32) for c in classes}, mask
    together = ThresholdSweep(9)
    for cams, mask in samples.values():
        together.add(cams, mask)
    result = score_images(samples.__getitem__, list(samples), 9, workers=1)
    np.testing.assert_array_equal(result.together.iou, together.scores().iou)


def test_an_image_is_counted_among_its_own_classes():
    mask = np.array([[0, 8, 255]], np.uint8)
    classes, own = sweep_image({3: np.array([[0.2, 0.9, 0.9]], np.float32)}, mask)
    assert classes == [3, 7]
    assert own.num_classes == 2
    assert own.counts[2, :, 0].tolist() == [1, 0, 1]  # pixels of background and both classes


def test_groups_of_examples_do_not_overlap():
    groups = examples(np.array([50, 10, np.nan, 90, 20, 70, 40, 30, 80]), 2)
    assert groups == {"worst": [1, 4], "median": [6, 0], "best": [3, 8]}


@pytest.mark.parametrize("count", range(7))
def test_few_images_are_shown_once_each(count):
    shown = [i for group in examples(np.arange(count, dtype=float), 3).values() for i in group]
    assert len(shown) == len(set(shown))
    assert len(shown) >= min(count, 2)
