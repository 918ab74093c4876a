"""The layout for scoring with masks alone, without images."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from utils.errors import InputError

from ..lists import find_list
from .base import Layout, classes_at


@dataclass(frozen=True)
class MaskLayout(Layout):
    """A folder of masks, with the classes and lists of the data set that they belong to.

    Args:
        root: the folder of the masks.
        home: folder of the data set, which may hold `classes.txt` and lists.
    """

    home: Path = Path()

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names without background: of the data set's `classes.txt`, else of the one beside or among the masks."""
        return classes_at(self.place_of_classes or self.root.parent)

    @property
    def place_of_classes(self) -> Path | None:
        """The folder that holds `classes.txt`; None if there is none."""
        places = (self.home, self.root.parent, self.root)
        return next((place for place in places if (place / "classes.txt").exists()), None)

    @property
    def mask_folder(self) -> Path:
        """The folder itself."""
        return self.root

    def list_path(self, name: str) -> Path:
        """The file of a list, whether it exists or not."""
        return find_list(self.home, name)

    def image_path(self, image_id: str) -> Path:
        """Raises InputError: there are no images."""
        raise InputError(f"{self.root} holds masks alone: the image {image_id} is not there")

    def labels(self, ids: Sequence[str]) -> np.ndarray:
        """Raises InputError: there are no image-level labels."""
        raise InputError(f"{self.root} holds masks alone, and nothing says what is in the images")
