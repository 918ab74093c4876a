"""Masks over photographs."""

import numpy as np
import pytest

from utils.cams.masks import voc_palette
from utils.picture_table import GAP
from utils.predictions.overlay import LARGEST_SIDE, OPACITY, SMALLEST_SIDE, mask_overlay

CLASSES = tuple("abcdefghijklmnopqrst")
IMAGE = np.full((400, 360, 3), 100, np.uint8)


def has(picture: np.ndarray, color: np.ndarray) -> bool:
    return bool((picture == color).all(2).any())


def test_classes_are_coloured_and_the_background_is_left():
    mask = np.zeros((400, 360), np.uint8)
    mask[:200] = 12
    picture = mask_overlay(IMAGE, mask, CLASSES)[GAP : GAP + 400, GAP : GAP + 360]
    blended = ((1 - OPACITY) * 100 + OPACITY * voc_palette()[12]).astype(np.uint8)
    assert (picture[:200] == blended).all()
    assert (picture[200:] == 100).all()


def test_the_legend_has_the_colours_of_what_is_there():
    mask = np.zeros((400, 360), np.uint8)
    mask[:9], mask[9:20] = 3, 255
    legend = mask_overlay(IMAGE, mask, CLASSES)[GAP + 400 :]
    assert [has(legend, voc_palette()[c]) for c in (3, 255, 12)] == [True, True, False]


def test_without_a_class_there_is_no_legend():
    empty = mask_overlay(IMAGE, np.zeros((400, 360), np.uint8), CLASSES)
    assert len(np.unique(empty[GAP + 400 :, :, 0])) > 1  # words


@pytest.mark.parametrize(("side", "shown"), [(40, SMALLEST_SIDE), (500, 500), (3000, LARGEST_SIDE)])
def test_pictures_are_large_enough_to_read_and_no_larger_than_a_screen(side, shown):
    picture = mask_overlay(np.zeros((side // 2, side, 3), np.uint8), np.ones((side // 2, side), np.uint8), CLASSES)
    assert picture.shape[1] == shown + 2 * GAP
