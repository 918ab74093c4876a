"""Files of polygons: COCO's, one for all images, and labelme's, one for each. See `utils.predictions.polygons`."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..files import whole_file
from .polygons import coco_annotations, coco_categories, labelme_document

ANNOTATIONS_FILE = "annotations.json"
"""Name of COCO's file."""


class CocoFile:
    """COCO's file of several masks, built image by image.

    Args:
        classes: C names; all of them become categories, whether they occur or not.
        root: folder that the images' names in the file are relative to.
        tolerance: see `utils.predictions.polygons.regions`.
    """

    def __init__(self, classes: Sequence[str], root: Path, tolerance: float):
        self.categories = coco_categories(classes)
        self.root = root
        self.tolerance = tolerance
        self.images: list[dict[str, Any]] = []
        self.annotations: list[dict[str, Any]] = []

    def add(self, image: Path, mask: np.ndarray, scores: Mapping[int, float] | None = None) -> None:
        """Adds the mask (H, W) of an image file; for `scores` see `utils.predictions.polygons.coco_annotations`."""
        number = len(self.images) + 1
        height, width = mask.shape
        self.images.append({"id": number, "file_name": relative(image, self.root), "width": width, "height": height})
        self.annotations += coco_annotations(mask, number, len(self.annotations) + 1, self.tolerance, scores)

    def write(self, path: Path) -> None:
        """Writes the file, which appears only when it is complete."""
        content = {
            "info": {"description": "polygons of masks"},
            "licenses": [],
            "images": self.images,
            "annotations": self.annotations,
            "categories": self.categories,
        }
        with whole_file(path) as file:
            file.write((json.dumps(content) + "\n").encode())


def write_labelme(path: Path, image: Path, mask: np.ndarray, classes: Sequence[str], tolerance: float) -> None:
    """Writes labelme's file of an image, which names the image relative to its own folder."""
    document = labelme_document(mask, classes, relative(image, path.parent.resolve()), tolerance)
    with whole_file(path) as file:
        file.write((json.dumps(document, indent=1) + "\n").encode())


def relative(image: Path, folder: Path) -> str:
    """The path of an image relative to a folder, with slashes; links in it are not resolved."""
    return Path(os.path.relpath(Path(image).absolute(), folder)).as_posix()


def common_folder(images: Sequence[Path]) -> Path:
    """The innermost folder that holds all images."""
    return Path(os.path.commonpath([image.parent.absolute() for image in images]))
