"""CAMs of the same few images at every validation, to watch in TensorBoard."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import cv2
import numpy as np

from ..animation import evenly_spaced
from ..picture_table import Cell, Group, fitted, picture_table
from .inference import HasPixels
from .pictures import cam_overlay

WATCHED = 4
SIDE = 128
"""Longer side of the pictures in pixels."""
CLASSES_SHOWN = 3


class Images(Protocol):
    """The validation images of this process."""

    ids: Sequence[str]
    labels: np.ndarray  # (n, C) bool


class Sample(HasPixels, Protocol):
    """A validation image."""

    @property
    def image_id(self) -> str:
        """Its name."""


class WatchedCams:
    """Collects pictures of some images while all are scored.

    Args:
        images: all images; `WATCHED` of them are watched, evenly spaced among those with labels.
        classes: names without background.
    """

    def __init__(self, images: Images, classes: Sequence[str]):
        labelled = np.flatnonzero(images.labels.any(1)).tolist()
        self.ids = {images.ids[labelled[i]] for i in evenly_spaced(len(labelled), WATCHED)}
        self.classes = classes
        self.pictures: dict[str, np.ndarray] = {}  # (H, W, 3) uint8 by TensorBoard's name

    def add(self, sample: Sample, cams: Mapping[int, np.ndarray]) -> None:
        """Draws an image beside its first CAMs, if it is watched.

        Args:
            sample: the image, as the network took it.
            cams: {class index: (H, W) float32}.
        """
        if sample.image_id not in self.ids:
            return
        image = fitted(sample.pixels[0].permute(1, 2, 0).numpy(), SIDE)
        row = [Cell(image, sample.image_id)]
        for c, cam in list(cams.items())[:CLASSES_SHOWN]:
            heat = cam_overlay(image, np.asarray(cv2.resize(cam, image.shape[1::-1])))
            row.append(Cell(heat, f"CAM of {self.classes[c]}"))
        self.pictures[f"cams/{sample.image_id}"] = picture_table([Group([row])], SIDE)
