"""A photograph on the page: the networks run on it once, and sliders work on their results."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
import torch
from PIL import Image

from utils.cams.crf import USUAL_CRF, refine
from utils.cams.pseudo_masks import score_mask, threshold_mask
from utils.errors import InputError
from utils.picture_table import fitted

from .uploads import Limits, open_upload

VIEW_SIDE = 400
"""Longer side of the figures in pixels, so that a slider takes the same time for every photograph."""
QUICK_CRF_SIDE, FULL_CRF_SIDE = 176, 1024
"""Longer side that the CRF works at, in pixels: while a slider moves, and for files."""


class CamNetwork(Protocol):
    """A network that finds classes and localises them: `models.CamModel`."""

    classes: tuple[str, ...]
    white: float

    def predict(self, image: Image.Image) -> tuple[Any, tuple[int, int]]:
        """`models.dig.Prediction`, and the height and width of the image."""


class SegNetwork(Protocol):
    """A segmentation network: `models.SegModel`."""

    classes: tuple[str, ...]

    def mask(self, image: Image.Image) -> np.ndarray:
        """(H, W) uint8: 0 background, 1 .. C."""


@dataclass(frozen=True, eq=False)
class Photograph:
    """A photograph and the networks' results for it; compared by identity.

    Args:
        file: its file's name.
        image: upright RGB.
        view: (h, w, 3) uint8, the image with a longer side of at most `VIEW_SIDE`.
        prediction: `models.dig.Prediction` on the CPU.
        segments: (H, W) uint8 mask of the segmentation network; None without one.
    """

    file: str
    image: Image.Image
    view: np.ndarray
    prediction: Any
    segments: np.ndarray | None

    @property
    def name(self) -> str:
        """Its file's name without suffix."""
        return Path(self.file).stem

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the photograph in pixels."""
        return self.image.height, self.image.width

    @property
    def probabilities(self) -> list[float]:
        """Probability of each class to be in the photograph, in [0, 1]."""
        return self.prediction.probabilities[0].tolist()

    def found(self, threshold: float) -> list[int]:
        """Indices of the classes whose probability reaches a threshold."""
        return [index for index, probability in enumerate(self.probabilities) if probability >= threshold]

    def cams(self, indices: Sequence[int], shape: tuple[int, int]) -> dict[int, np.ndarray]:
        """CAMs of classes, {class index from 0: float32 in [0, 1)}, at a height and width in pixels."""
        cams = self.prediction.cams(0, torch.tensor(indices, dtype=torch.long), shape).numpy()
        return dict(zip(indices, cams, strict=True))


def study(path: Path, limits: Limits, model: CamNetwork, segmenter: SegNetwork | None) -> Photograph:
    """Opens a photograph and runs the networks on it.

    Args:
        path: the file.
        limits: see `open_upload`.
        model: network whose CAMs are shown.
        segmenter: a segmentation network; None without one.

    Raises:
        InputError: the photograph cannot be used.
    """
    image = open_upload(path, limits, model.white)
    try:
        prediction, _ = model.predict(image)
        segments = None if segmenter is None else segmenter.mask(image)
    except InputError as error:
        raise InputError(f"{path.name}: {error}") from error
    on_cpu = prediction._replace(
        maps=tuple(maps.cpu() for maps in prediction.maps), probabilities=prediction.probabilities.cpu()
    )
    return Photograph(path.name, image, reduced(np.asarray(image), VIEW_SIDE), on_cpu, segments)


def reduced(picture: np.ndarray, side: int) -> np.ndarray:
    """An array (H, W, …) whose longer side is at most `side`."""
    return picture if max(picture.shape[:2]) <= side else fitted(picture, side)


def cam_mask(cams: Mapping[int, np.ndarray], shape: tuple[int, int], threshold: float) -> np.ndarray:
    """Mask (H, W) of `label_type` at a background score: 0 background, 1 .. C."""
    return threshold_mask(cams, shape, (threshold,))


def crf_mask(image: np.ndarray, cams: Mapping[int, np.ndarray], alpha: float, side: int, original: int) -> np.ndarray:
    """A mask by the dense CRF, computed at a reduced size.

    Args:
        image: (H, W, 3) uint8.
        cams: {class index from 0: (H, W) float32}.
        alpha: exponent of the background score.
        side: longer side in pixels that the CRF works at.
        original: longer side in pixels of the photograph, which the reach of the CRF's terms refers to.

    Returns:
        (H, W) of `label_type`, 0 background, 1 .. C.
    """
    small = reduced(image, side)
    factor = max(small.shape[:2]) / original
    settings = dataclasses.replace(
        USUAL_CRF, gaussian_sxy=factor * USUAL_CRF.gaussian_sxy, bilateral_sxy=factor * USUAL_CRF.bilateral_sxy
    )
    scores = refine(small, {index: reduced(cam, side) for index, cam in cams.items()}, alpha, settings)
    size = image.shape[1::-1]
    return score_mask([{label: np.asarray(cv2.resize(score, size)) for label, score in scores.items()}])
