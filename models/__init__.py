"""The network: multi-class-token ViT, LFCA, losses, CAMs, published weights."""

from .backbones import DEIT_SMALL
from .cam import normalize_cam
from .cam_model import WEIGHTS_HINT, CamModel, load_cam_model, load_network
from .dig import LFCA_PREFIXES, DiG, DiGOutput, build_dig
from .losses import LOSS_NAMES, DiGLoss
from .mimetic import init_mimetic
from .seg_model import SegModel, load_seg_model
from .segmentation import SEG_WEIGHTS_HINT, SegmentationNet, build_segmenter, load_segmenter
from .stem import ConvStem, load_stem
from .weights import imagenet_normalize, load_backbone, load_deit

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
