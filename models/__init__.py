"""The networks: multi-class-token ViT, LFCA, losses, CAMs, published weights, and networks loaded from experiments."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .backbones import DEIT_SMALL
    from .cam import normalize_cam
    from .dig import LFCA_PREFIXES, DiG, DiGOutput, build_dig
    from .losses import LOSS_NAMES, DiGLoss
    from .mimetic import init_mimetic
    from .segmentation import SEG_WEIGHTS_HINT, SegmentationNet, build_segmenter, load_segmenter
    from .stem import ConvStem, load_stem
    from .trained.cam_model import WEIGHTS_HINT, CamModel, load_cam_model, load_network
    from .trained.seg_model import SegModel, load_seg_model
    from .weights import imagenet_normalize, load_backbone, load_deit, standardize

MODULES = {
    "backbones": ("DEIT_SMALL",),
    "cam": ("normalize_cam",),
    "dig": ("LFCA_PREFIXES", "DiG", "DiGOutput", "build_dig"),
    "losses": ("LOSS_NAMES", "DiGLoss"),
    "mimetic": ("init_mimetic",),
    "segmentation": ("SEG_WEIGHTS_HINT", "SegmentationNet", "build_segmenter", "load_segmenter"),
    "stem": ("ConvStem", "load_stem"),
    "trained.cam_model": ("WEIGHTS_HINT", "CamModel", "load_cam_model", "load_network"),
    "trained.seg_model": ("SegModel", "load_seg_model"),
    "weights": ("imagenet_normalize", "load_backbone", "load_deit", "standardize"),
}
"""Names by module. A module is imported when one of its names is used: timm alone takes seconds."""
MODULE_OF = {name: module for module, names in MODULES.items() for name in names}

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
    "standardize",
]


def __getattr__(name: str) -> Any:
    """Imports the module of a name."""
    if name not in MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{MODULE_OF[name]}", __name__), name)
