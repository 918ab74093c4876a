"""Pseudo-masks: label images made of CAMs or of CRF scores, to train a segmentation network with.

One threshold, or one exponent of the background, labels every pixel: supervision for a segmentation network such as DeepLab.
Two of them label a pixel where both agree, and leave it undecided (255) where they do not: confident seeds for networks that
learn affinities, such as IRN (https://arxiv.org/abs/1904.05044), and for losses that ignore 255.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from ..scoring.metrics import IGNORE, label_map


def threshold_mask(cams: Mapping[int, np.ndarray], shape: tuple[int, int], thresholds: Sequence[float]) -> np.ndarray:
    """The class whose CAM is largest and exceeds the background's score, as scoring sweeps it (`utils.scoring.metrics`).

    Args:
        cams: {class index from 0, without background: (H, W) float32}.
        shape: (H, W), for images without a class.
        thresholds: scores of the background; with several, pixels whose label depends on it are 255.

    Returns:
        (H, W) uint8, 0 background, 1 .. C; background wins ties.
    """
    foreground = {c + 1: cam for c, cam in cams.items()}
    return agreed([label_map({0: np.full(shape, t, np.float32), **foreground}) for t in thresholds])


def score_mask(scores: Sequence[Mapping[int, np.ndarray]]) -> np.ndarray:
    """The class with the largest score.

    Args:
        scores: {0: background, 1 .. C: class, (H, W) float32}; with several, pixels whose labels differ are 255.

    Returns:
        (H, W) uint8.
    """
    return agreed([label_map(one) for one in scores])


def agreed(labels: Sequence[np.ndarray]) -> np.ndarray:
    """The label that all (H, W) label images give a pixel, 255 where they differ."""
    first, *others = labels
    same = np.all([first == other for other in others], axis=0)
    return np.where(same, first, np.uint8(IGNORE))
