"""CAMs at patch resolution, upsampled when they are read.

Full-size CAMs are upsampled from the patch grid anyway, so nothing is lost; a map takes 3 KB on disk instead of 750.
"""

from collections.abc import Mapping

import cv2
import numpy as np

EPSILON = 1e-5


def full_size_cams(maps: Mapping[int, np.ndarray], size: tuple[int, int]) -> dict[int, np.ndarray]:
    """Upsamples and normalises maps like `models.dig.Prediction.cams`, up to rounding.

    Args:
        maps: {class index: (h, w) float32}, CAMs of image and mirror, summed.
        size: height and width in pixels.

    Returns:
        {class index: (height, width) float32 in [0, 1)}.
    """
    height, width = size
    return {c: normalized(cv2.resize(cam, (width, height), interpolation=cv2.INTER_LINEAR)) for c, cam in maps.items()}


def normalized(cam: np.ndarray) -> np.ndarray:
    """Min-max normalisation of one map (H, W) as `models.normalize_cam` does it, in place."""
    np.maximum(cam, 0, out=cam)
    low, high = cam.min(), cam.max()
    cam -= low + np.float32(EPSILON)
    np.maximum(cam, 0, out=cam)
    cam /= high - low + np.float32(EPSILON)
    return cam
