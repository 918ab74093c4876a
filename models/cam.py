"""Normalisation of class activation maps."""

import torch.nn.functional as F
from torch import Tensor

EPSILON = 1e-5


def normalize_cam(cam: Tensor) -> Tensor:
    """Min-max normalisation of each map, n(.) in the losses and in inference.

    Args:
        cam: (..., h, w) activations; negative ones count as zero.

    Returns:
        (..., h, w) float32 in [0, 1). A constant map becomes all zero.
    """
    cam = F.relu(cam.float())
    low, high = cam.amin(dim=(-2, -1), keepdim=True), cam.amax(dim=(-2, -1), keepdim=True)
    return F.relu(cam - low - EPSILON) / (high - low + EPSILON)
