"""CRF scores and pseudo-masks of an experiment, as written by inference and by `tools.crf` and `tools.masks`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..options.results import CrfOptions, ThresholdOptions
from ..scoring.best_threshold import read_best
from .crf import refine
from .files import write_cam_dict
from .folders import crf_folder, crf_record, score_record, start_folder, threshold_record
from .masks import write_mask
from .pseudo_masks import score_mask, threshold_mask

Cams = Mapping[int, np.ndarray]
"""{class index from 0: (H, W) float32}"""
ScoreMaps = Mapping[int, np.ndarray]
"""{0: background, 1 .. C: class, (H, W) float32}"""
MadeWith = Mapping[str, Any]
"""Settings that files were made with: the record of `folders.start_folder`."""


@dataclass(frozen=True)
class CrfFiles:
    """`crf/<alpha>/<image>.npy`: scores of CAMs after a CRF.

    Args:
        folder: the experiment's folder.
        options: CRF settings and exponents.
    """

    folder: Path
    options: CrfOptions

    def path(self, image_id: str, alpha: float) -> Path:
        """The file of an image."""
        return crf_folder(self.folder, alpha) / f"{image_id}.npy"

    def records(self, cams: MadeWith) -> dict[str, dict[str, Any]]:
        """The record of each exponent's scores, by the name of their folder in the experiment."""
        settings = self.options.crf_settings
        return {f"crf/{alpha:g}": crf_record(cams, settings, alpha) for alpha in self.options.alphas}

    def start(self, cams: MadeWith, overwrite: bool) -> None:
        """Prepares the folders (`folders.start_folder`) for scores of CAMs with the record `cams`."""
        for name, record in self.records(cams).items():
            start_folder(self.folder / name, record, "*.npy", overwrite)

    def make(self, image: np.ndarray, cams: Cams, alpha: float) -> dict[int, np.ndarray]:
        """Computes the scores of an image (H, W, 3) uint8 with one exponent."""
        return refine(image, cams, alpha, self.options)

    def write(self, image_id: str, alpha: float, scores: ScoreMaps) -> None:
        """Writes the scores of an image."""
        write_cam_dict(self.path(image_id, alpha), scores)


@dataclass(frozen=True)
class MaskFiles:
    """`png/<image>.png`: pseudo-masks.

    Args:
        folder: the experiment's folder.
        thresholds: background scores in masks of CAMs, one or two; none for masks of CRF scores.
        name: name of the folder of masks in it.
        num_classes: see `utils.scoring.metrics.label_map`.
    """

    folder: Path
    thresholds: tuple[float, ...] = ()
    name: str = "png"
    num_classes: int = 0

    @property
    def target(self) -> Path:
        """The folder of the masks."""
        return self.folder / self.name

    def path(self, image_id: str) -> Path:
        """The file of an image."""
        return self.target / f"{image_id}.png"

    def start_of_cams(self, cams: MadeWith, overwrite: bool) -> None:
        """Prepares the folder (`folders.start_folder`) for masks of CAMs with the record `cams`."""
        start_folder(self.target, threshold_record(cams, self.thresholds), "*.png", overwrite)

    def start_of_scores(self, scores: Mapping[str, MadeWith], overwrite: bool) -> None:
        """Prepares the folder for masks of CRF scores with these records (`folders.score_record`)."""
        start_folder(self.target, score_record(scores), "*.png", overwrite)

    def write_of_cams(self, image_id: str, cams: Cams, shape: tuple[int, int]) -> None:
        """Writes the mask of an image of shape (H, W) from its CAMs."""
        write_mask(self.path(image_id), threshold_mask(cams, shape, self.thresholds, self.num_classes))

    def write_of_scores(self, image_id: str, scores: Sequence[ScoreMaps]) -> None:
        """Writes the mask of an image from its scores with one exponent, or with two (pixels where they differ are 255)."""
        write_mask(self.path(image_id), score_mask(scores, self.num_classes))


def thresholds_of(options: ThresholdOptions, cams: Path, made_with: MadeWith) -> tuple[float, ...]:
    """The thresholds of the flags; without any, the best one that evaluation.py found for CAMs in that folder, made so.

    Raises:
        InputError: neither exists.
    """
    return options.thresholds or (read_best(cams, made_with),)
