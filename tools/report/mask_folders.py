"""Masks that a report shows beside those of the CAMs: a CRF's, and a segmentation network's."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from utils.cams.files import read_score_dict
from utils.cams.folders import crf_folders
from utils.cams.masks import read_mask
from utils.errors import InputError
from utils.options.flags import show
from utils.records import made_with
from utils.scoring.metrics import label_map


@dataclass(frozen=True)
class MaskFolder:
    """Masks of images, each in a file of its own.

    Args:
        heading: text above the masks.
        folder: folder of the files.
        suffix: .npy for score dicts with background, .png for label images.
    """

    heading: str
    folder: Path
    suffix: str = ".png"

    def path(self, image_id: str) -> Path:
        """The file of an image."""
        return self.folder / f"{image_id}{self.suffix}"

    def has_all(self, ids: Sequence[str]) -> bool:
        """Whether every image has a mask."""
        return all(self.path(image_id).exists() for image_id in ids)

    def read(self, image_id: str, shape: tuple[int, int], num_classes: int) -> np.ndarray:
        """A mask, (H, W) of `label_type`: 0 background, 1 .. C; `ignored_in` it is undecided.

        Raises:
            InputError: the file is missing, damaged, or of another shape.
        """
        if self.suffix == ".npy":
            return label_map(read_score_dict(self.path(image_id), shape, num_classes), num_classes)
        return read_mask(self.path(image_id), shape, num_classes)


def crf_masks(experiment: Path) -> list[MaskFolder]:
    """The CRF masks of an experiment: of the scores with the lowest exponent, else those in `png/`, if any."""
    folders = [path for path in crf_folders(experiment) if next(path.glob("*.npy"), None)]
    if folders:
        lowest = min(folders, key=lambda path: (exponent(path.name), path.name))
        return [MaskFolder(f"CRF mask, alpha {lowest.name}", lowest, ".npy")]
    png = experiment / "png"
    alphas = made_with(png, experiment).get("alpha") if png.is_dir() else None
    if not isinstance(alphas, list):
        return []
    return [MaskFolder(f"CRF mask, alpha {' and '.join(map(show, alphas))}", png)]


def exponent(name: str) -> float:
    """The number that a folder is named after; infinity for other names."""
    try:
        return float(name)
    except ValueError:
        return float("inf")


def segmentation_masks(folder: Path) -> MaskFolder:
    """The masks of a segmentation network.

    Raises:
        InputError: the folder is missing, or holds no PNG.
    """
    if next(folder.glob("*.png"), None) is None:
        raise InputError(
            f"--seg {folder} {'holds no PNG' if folder.is_dir() else 'is no folder'}: it takes a folder of masks"
        )
    return MaskFolder("segmentation network", folder)
