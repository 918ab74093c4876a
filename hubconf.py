"""Entries of `torch.hub`, from a checkout: torch.hub.load("PATH", "cam_model", "experiment/own", source="local")"""

import sys as _sys
from pathlib import Path as _Path
from typing import Any as _Any

dependencies = ["torch", "torchvision", "timm", "huggingface_hub", "safetensors", "numpy", "PIL", "cv2", "tqdm"]

for _name in ("models", "diffusion", "utils"):
    _file = getattr(_sys.modules.get(_name, _sys), "__file__", None)
    if _name in _sys.modules and _Path(_file or "").resolve().parent.parent != _Path(__file__).resolve().parent:
        raise ImportError(f"another module named {_name} is imported already ({_file}): load DiG in a process without it")

import diffusion as _diffusion  # noqa: E402
import models as _models  # noqa: E402


def dig(num_classes: int = 20, **options: _Any) -> _models.DiG:
    """The network with random weights; `options` are those of `models.build_dig`."""
    return _models.build_dig(num_classes, **options)


def cam_model(experiment: str, **options: _Any) -> _models.CamModel:
    """A trained network that gives CAMs and probabilities of images; `options` are those of `models.load_cam_model`."""
    return _models.load_cam_model(experiment, **options)


def seg_model(experiment: str, **options: _Any) -> _models.SegModel:
    """A trained segmentation network that gives masks of images; `options` are those of `models.load_seg_model`."""
    return _models.load_seg_model(experiment, **options)


def denoiser(dim: int = 64, image_size: int = 224) -> _diffusion.GaussianDiffusion:
    """The denoiser with random weights; its parameters have the names of the published file."""
    return _diffusion.build_denoiser(dim, image_size)
