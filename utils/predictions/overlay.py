"""A mask over its photograph, with a legend of its classes."""

from collections.abc import Sequence

import numpy as np

from ..cams.masks import voc_palette
from ..picture_table import Cell, Entry, Group, picture_table
from ..scoring.metrics import ignored_in

SMALLEST_SIDE, LARGEST_SIDE = 320, 1280
"""Limits of the photograph's longer side in pixels: room for a legend, and no larger than a screen."""
OPACITY = 0.55
"""Opacity of the mask's colours."""


def mask_overlay(image: np.ndarray, mask: np.ndarray, classes: Sequence[str]) -> np.ndarray:
    """A photograph under the colours of its mask, with their names below. The background is left as it is.

    Args:
        image: (H, W, 3) uint8 RGB.
        mask: (H, W) of `label_type`, 0 background, 1 .. C; `ignored_in` it is undecided.
        classes: C names.

    Returns:
        (h, w, 3) uint8, at most about `LARGEST_SIDE` wide or high.
    """
    palette = voc_palette()
    colored = (1 - OPACITY) * image + OPACITY * palette[mask & 255]
    picture = np.where(mask[:, :, None] > 0, colored, image).astype(np.uint8)
    present = [label for label in np.unique(mask).tolist() if label]
    names = {label: "undecided" if label == ignored_in(mask) else classes[label - 1] for label in present}
    legend = [Entry(name, tuple(palette[label & 255].tolist())) for label, name in names.items()]
    side = int(np.clip(max(mask.shape), SMALLEST_SIDE, LARGEST_SIDE))
    return picture_table([Group([[Cell(picture, "" if present else "background alone")]])], side, legend=legend)
