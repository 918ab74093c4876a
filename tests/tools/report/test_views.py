"""What there is to see of an image: colours, scores, and which CAM stands for all."""

import numpy as np
import pytest

from tools.report.sheet import legend_of
from tools.report.views import BACKGROUND, PALETTE, SIDE, largest_class, view
from utils.picture_table import Entry

CLASSES = ("cat", "dog", "sofa")
IMAGE = np.full((20, 40, 3), 200, np.uint8)


def truth_of(*columns: int) -> np.ndarray:
    """A mask in vertical stripes of one width."""
    return np.repeat(np.array([columns], np.uint8), 40 // len(columns), 1).repeat(20, 0)


def cams_of(**scores: list[float]) -> dict[int, np.ndarray]:
    """CAMs in vertical stripes of one width."""
    stripes = {CLASSES.index(name): np.array([row], np.float32) for name, row in scores.items()}
    return {c: np.repeat(row, 40 // row.shape[1], 1).repeat(20, 0) for c, row in stripes.items()}


def colors_in(picture: np.ndarray) -> set[tuple[int, ...]]:
    return {tuple(color) for color in picture.reshape(-1, 3).tolist()}


def test_masks_have_vocs_colours_on_the_image_in_grey():
    shown = view("a", IMAGE, cams_of(cat=[0.9, 0.1]), truth_of(1, 0), {}, 0.5, CLASSES)
    assert colors_in(shown.truth.picture) == {(128, 0, 0), (80, 80, 80)}
    assert colors_in(shown.masks[0].picture) == {(128, 0, 0), (80, 80, 80)}
    assert max(shown.image.picture.shape) == SIDE


def test_a_mask_scores_the_mean_over_the_classes_in_the_truth():
    shown = view("a", IMAGE, cams_of(cat=[0.9, 0.9]), truth_of(1, 0), {"other": truth_of(1, 0)}, 0.5, CLASSES)
    assert shown.miou == 25.0  # the background is missed, and half of what is taken for a cat is one
    assert [panel.caption for panel in shown.masks] == ["mIoU 25.0 %", "mIoU 100.0 %"]
    assert [(label.name, label.iou) for label in shown.labels] == [("background", 0.0), ("cat", 50.0)]


def test_the_threshold_itself_is_background():
    shown = view("a", IMAGE, cams_of(cat=[0.5, 0.6]), truth_of(0, 1), {}, 0.5, CLASSES)
    assert shown.miou == 100.0


def test_without_a_true_mask_nothing_has_a_score():
    shown = view("a", IMAGE, cams_of(dog=[0.9, 0.1]), None, {"other": truth_of(2, 2)}, 0.5, CLASSES)
    assert (shown.truth, shown.miou) == (None, None)
    assert [panel.caption for panel in shown.masks] == ["", ""]
    assert [label.iou for label in shown.labels] == [None, None]


def test_a_truth_that_is_all_ignored_scores_nothing():
    shown = view("a", IMAGE, cams_of(dog=[0.9, 0.1]), truth_of(255, 255), {}, 0.5, CLASSES)
    assert np.isnan(shown.miou)
    assert shown.masks[0].caption == "nothing to score"


def test_the_legend_has_every_colour_in_the_pictures():
    shown = view("a", IMAGE, cams_of(dog=[0.9, 0.1]), truth_of(1, 255), {"other": truth_of(3, 0)}, 0.5, CLASSES)
    entries = [Entry(name, PALETTE[i + 1]) for i, name in enumerate(CLASSES)]
    assert legend_of([shown]) == [
        Entry("background", BACKGROUND),
        *entries,
        Entry("not scored, or undecided", (224, 224, 192)),
    ]


@pytest.mark.parametrize(("truth", "largest"), [(truth_of(1, 1, 1, 2), 0), (truth_of(1, 2, 2, 0), 1), (None, 1)])
def test_the_class_with_the_most_pixels_stands_for_all(truth, largest):
    assert largest_class(cams_of(cat=[0.9, 0.1], dog=[0.6, 0.7]), truth) == largest


def test_an_image_without_a_class_is_background():
    shown = view("a", IMAGE, {}, truth_of(0, 0), {}, 0.5, CLASSES)
    assert (shown.miou, shown.cams, shown.colors) == (100.0, [], {})
