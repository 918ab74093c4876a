"""Random pixels."""

import numpy as np


def pixels(height: int = 30, width: int = 40, seed: int = 0) -> np.ndarray:
    """(H, W, 3) uint8."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
