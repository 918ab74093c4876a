"""The networks: multi-class-token ViT, LFCA, losses, CAMs, published weights, and networks loaded from experiments."""

import importlib
from typing import TYPE_CHECKING, Any

from .backbones import DEIT_SMALL
from .cam import normalize_cam
from .dig import LFCA_PREFIXES, DiG, DiGOutput, build_dig
from .losses import LOSS_NAMES, DiGLoss
from .mimetic import init_mimetic
from .stem import ConvStem, load_stem
from .weights import imagenet_normalize, load_backbone, load_deit

if TYPE_CHECKING:
    from .segmentation import SEG_WEIGHTS_HINT, SegmentationNet, build_segmenter, load_segmenter
    from .trained.cam_model import WEIGHTS_HINT, CamModel, load_cam_model, load_network
    from .trained.seg_model import SegModel, load_seg_model

LOADED_WHEN_USED = {
    "WEIGHTS_HINT": "trained.cam_model",
    "CamModel": "trained.cam_model",
    "load_cam_model": "trained.cam_model",
    "load_network": "trained.cam_model",
    "SegModel": "trained.seg_model",
    "load_seg_model": "trained.seg_model",
    "SEG_WEIGHTS_HINT": "segmentation",
    "SegmentationNet": "segmentation",
    "build_segmenter": "segmentation",
    "load_segmenter": "segmentation",
}
"""Names by module. They need experiments or segmentation-models-pytorch, which DiG itself does without."""

__all__ = [
    "DEIT_SMALL",
    "LFCA_PREFIXES",
    "LOSS_NAMES",
    "SEG_WEIGHTS_HINT",
    "WEIGHTS_HINT",
    "CamModel",
    "ConvStem",
    "DiG",
    "DiGLoss",
    "DiGOutput",
    "SegModel",
    "SegmentationNet",
    "build_dig",
    "build_segmenter",
    "imagenet_normalize",
    "init_mimetic",
    "load_backbone",
    "load_cam_model",
    "load_deit",
    "load_network",
    "load_seg_model",
    "load_segmenter",
    "load_stem",
    "normalize_cam",
]


def __getattr__(name: str) -> Any:
    """Imports the module of a name in `LOADED_WHEN_USED`."""
    if name not in LOADED_WHEN_USED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{LOADED_WHEN_USED[name]}", __name__), name)
