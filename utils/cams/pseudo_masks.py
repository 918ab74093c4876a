"""Pseudo-masks: label images from CAMs or CRF scores, to train a segmentation network with.

With one threshold, or one exponent of the background, every pixel gets a label: supervision for a segmentation network such
as DeepLab. With two, a pixel gets a label if both agree, else 255 (ignored): confident seeds for networks that learn
affinities, such as IRN (https://arxiv.org/abs/1904.05044).
"""

from collections.abc import Mapping, Sequence

import numpy as np

from ..scoring.metrics import ignored_in, label_map


def threshold_mask(
    cams: Mapping[int, np.ndarray], shape: tuple[int, int], thresholds: Sequence[float], num_classes: int = 0
) -> np.ndarray:
    """The class with the largest CAM, or background where none exceeds the threshold; as in `utils.scoring.metrics`.

    Args:
        cams: {class index from 0, without background: (H, W) float32}.
        shape: (H, W); needed for images without a class.
        thresholds: background scores; pixels whose label differs between them are 255.
        num_classes: see `label_map`.

    Returns:
        (H, W) of `label_type`, 0 background, 1 .. C; background wins ties.
    """
    foreground = {c + 1: cam for c, cam in cams.items()}
    return agreed([label_map({0: np.full(shape, t, np.float32), **foreground}, num_classes) for t in thresholds])


def score_mask(scores: Sequence[Mapping[int, np.ndarray]], num_classes: int = 0) -> np.ndarray:
    """The class with the largest score.

    Args:
        scores: one or more {0: background, 1 .. C: class, (H, W) float32}; pixels whose labels differ are 255.
        num_classes: see `label_map`.

    Returns:
        (H, W) of `label_type`.
    """
    return agreed([label_map(one, num_classes) for one in scores])


def agreed(labels: Sequence[np.ndarray]) -> np.ndarray:
    """The common label of all (H, W) label images at each pixel; ignored where they differ."""
    first, *others = labels
    same = np.all([first == other for other in others], axis=0)
    return np.where(same, first, first.dtype.type(ignored_in(first)))
