"""Numbers recorded from the published implementation (`tests/recorded`), and the inputs that they were recorded with.

All inputs depend only on names, shapes and seeds, so that both implementations get the same values without sharing files.
"""

import json
import zlib

import cv2
import numpy as np
import torch
from torch.nn import functional as F

from tests.helpers import ROOT

RECORDED = ROOT / "tests" / "recorded"


def recorded(name: str) -> dict[str, np.ndarray]:
    """The arrays of a file."""
    with np.load(RECORDED / f"{name}.npz") as arrays:
        return dict(arrays)


def manifest(name: str) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the entries of a published checkpoint."""
    shapes = json.loads((RECORDED / f"manifest_{name}.json").read_text(encoding="utf-8"))
    return {key: tuple(shape) for key, shape in shapes.items()}


def fill_(module: torch.nn.Module) -> torch.nn.Module:
    """Overwrites all parameters, but no buffers, with values that depend only on their names and shapes."""
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            parameter.copy_(parameter_value(name, tuple(parameter.shape)))
    return module


def parameter_value(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """Normal values, scaled by the kind of parameter: embedding, gain, bias, or weight (by its fan-in)."""
    draws = normal(zlib.crc32(name.encode()), shape)
    kind = name.split(".")[-1]
    if kind in ("cls_token", "pos_embed"):
        return torch.from_numpy(0.5 * draws)
    if kind == "g" or (kind == "weight" and len(shape) == 1):
        return torch.from_numpy(1 + 0.1 * draws)
    if len(shape) == 1:
        return torch.from_numpy(0.05 * draws)
    return torch.from_numpy(draws / np.sqrt(int(np.prod(shape[1:]))))


def image(seed: int, batch: int, height: int, width: int) -> torch.Tensor:
    """Smooth images with some noise, (B, 3, H, W) in [0, 1]."""
    generator = np.random.default_rng(seed)
    coarse = torch.from_numpy(generator.random((batch, 3, 9, 9), dtype=np.float32))
    grain = torch.from_numpy(generator.standard_normal((batch, 3, height, width), dtype=np.float32))
    smooth = F.interpolate(coarse, (height, width), mode="bicubic", align_corners=False)
    return (smooth + 0.05 * grain).clamp(0, 1)


def noise(seed: int, shape: tuple[int, ...]) -> torch.Tensor:
    """Normal draws."""
    return torch.from_numpy(normal(seed, shape))


def normal(seed: int, shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(tuple(shape), dtype=np.float32)


def synthetic_cams(image_id: str, mask: np.ndarray, classes: list[int]) -> dict[int, np.ndarray]:
    """CAMs for scoring, from the blurred mask and noise: {class index: (H, W) float32 in [0, 1]}."""
    height, width = mask.shape
    cams = {}
    for index in classes:
        generator = np.random.default_rng(zlib.crc32(f"{image_id}/{index}".encode()))
        coarse = generator.random((max(2, height // 32), max(2, width // 32)), dtype=np.float32)
        clutter = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)
        truth = cv2.GaussianBlur((mask == index + 1).astype(np.float32), (0, 0), 12)
        cam = 0.75 * truth + 0.45 * clutter
        cams[index] = ((cam - cam.min()) / (cam.max() - cam.min() + 1e-5)).astype(np.float32)
    return cams


def shapes(module: torch.nn.Module) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the entries of a module's state dict."""
    return {name: tuple(value.shape) for name, value in module.state_dict().items()}


def read_evaluation() -> dict[str, dict]:
    """Scores in percent by threshold."""
    return json.loads((RECORDED / "evaluation.json").read_text(encoding="utf-8"))
