"""The base class of layouts, and opening the data set in a folder."""

import functools
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

import numpy as np

from utils.errors import InputError, did_you_mean
from utils.folders import is_hidden

from ..labels.classes import VOC_CLASSES, class_names
from ..lists import draw, find_list, read_ids, split_count
from ..pixels import read_upright_mask, upright_size

LAYOUTS: list[type["Layout"]] = []
"""All layouts, registered when their class is defined."""


@dataclass(frozen=True)
class Layout(ABC):
    """A data set: images, image-level labels, and optional masks and lists.

    To add a layout, add a file to this folder with a subclass that defines how its folders are recognised (`mark`), where
    images are (`image_path`) and their labels (`labels`); the other methods have defaults.

    Args:
        root: folder of the data set.
    """

    root: Path

    description: ClassVar[str] = ""
    """Description of the layout for the error message about `--data-path`."""
    published_classes: ClassVar[tuple[str, ...]] = VOC_CLASSES
    """Class names without background, for data sets without `classes.txt`."""
    usual_list: ClassVar[str] = "train"
    """The default training list."""

    def __init_subclass__(cls) -> None:
        LAYOUTS.append(cls)

    @classmethod
    def mark(cls, root: Path) -> str:
        """The file or sub-folder by which this layout is recognised, such as `JPEGImages/`; empty if it is missing."""
        return ""

    @classmethod
    def fits(cls, root: Path, guess: bool = False) -> bool:
        """Whether a folder is a data set of this layout that has images, not only masks.

        Args:
            root: the folder.
            guess: the user has not named this folder as a data set, so only unambiguous signs count.
        """
        return bool(cls.mark(root))

    @classmethod
    def resembles(cls, root: Path) -> bool:
        """Whether a folder without any layout's mark is probably meant to have this layout, even if incomplete."""
        return False

    @classmethod
    def opened(cls, root: Path, sbd_path: Path | None) -> Self:
        """The data set in a folder; `sbd_path` is only VOC's."""
        return cls(root)

    @classmethod
    def file_names(cls, image_id: str) -> Iterable[str]:
        """Possible file names, without suffix, of an image's mask in the folder of masks."""
        return (image_id,)

    @abstractmethod
    def image_path(self, image_id: str) -> Path:
        """The image file of an id.

        Raises:
            InputError: the data set has no such image.
        """

    @abstractmethod
    def labels(self, ids: Sequence[str]) -> np.ndarray:
        """Image-level labels of n images: (n, C) bool.

        Raises:
            InputError: the labels of an image are missing, unreadable, or no classes of the data set.
        """

    @functools.cached_property
    def classes(self) -> tuple[str, ...]:
        """Class names without background: those of `classes.txt`, else the published ones."""
        return class_names(self.root, self.published_classes)

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes for the log on interpreted labels and ignored files."""
        return ()

    @property
    def mask_folder(self) -> Path:
        """The folder of the ground-truth masks; it need not exist, only scoring needs it."""
        return self.root / "SegmentationClass"

    @property
    def other_masks(self) -> str:
        """The end of a message about missing masks: a file in their folder that is no PNG; empty if there is none."""
        folder = self.mask_folder
        files = sorted(path.name for path in folder.iterdir() if path.is_file()) if folder.is_dir() else []
        others = [name for name in files if not is_hidden(name) and Path(name).suffix != ".png"]
        return f"; {folder} holds {others[0]}, and masks are files NAME.png" if others else ""

    def mask_path(self, image_id: str) -> Path:
        """The ground truth of an id, whether it exists or not."""
        return find_mask(self.mask_folder, image_id)

    def list_path(self, name: str) -> Path:
        """The file of a list, whether it exists or not."""
        return find_list(self.root, name)

    def read_list(self, name: str) -> list[str]:
        """Image ids of a list.

        Args:
            name: a file, a list of the data set, or a name that the layout defines without a file (`unlisted_ids`);
                `name:count` draws a subset (`datasets.lists.draw`).

        Raises:
            InputError: the list is missing or empty, or names an image twice or one that does not exist.
        """
        name, count = split_count(name)
        path = self.list_path(name)
        return draw(self.listed_ids(path) if path.is_file() else self.unlisted_ids(name), count)

    def has_list(self, name: str) -> bool:
        """Whether there is such a list; its file may be damaged."""
        if self.list_path(name).is_file():
            return True
        try:
            return bool(self.read_list(name))
        except InputError:
            return False

    def listed_ids(self, path: Path) -> list[str]:
        """Ids of a list file."""
        return read_ids(path)

    def unlisted_ids(self, name: str) -> list[str]:
        """Ids of a list that the layout defines without a file.

        Raises:
            InputError: there is no such list.
        """
        path = self.list_path(name)
        raise InputError(f"{path} is missing: name another list, or a file with one image id per line{self.meant(name)}")

    def meant(self, name: str, others: Iterable[str] = ()) -> str:
        """A suggestion for a message about an unknown list: a similar name among the list files and `others`."""
        beside = (path.stem for path in self.list_path(name).parent.glob("*.txt"))
        return did_you_mean(name.removesuffix(".txt"), (*beside, *others))

    def training_ids(self, train_list: str = "") -> tuple[list[str], str]:
        """Ids to train on, and a description of where they come from.

        Args:
            train_list: name of a list; empty: the default list.

        Raises:
            InputError: there is no image to train on.
        """
        name = train_list or self.usual_list
        path = self.list_path(split_count(name)[0])
        return self.read_list(name), str(path if path.is_file() else self.root / name)


def marks_of(root: Path) -> dict[type[Layout], str]:
    """The marks that a folder has, by their layouts."""
    return {layout: mark for layout in LAYOUTS if (mark := layout.mark(root))}


def is_data_set(root: Path, guess: bool = False) -> bool:
    """Whether a folder is a data set of a known layout, with images.

    Args:
        root: the folder.
        guess: see `Layout.fits`.
    """
    return any(layout.fits(root, guess) for layout in marks_of(root) or LAYOUTS)


def open_layout(root: Path, sbd_path: str = "") -> Layout:
    """The data set in a folder.

    Args:
        root: the folder.
        sbd_path: SBD release that VOC's training list is derived from; empty: `SBD` inside `root`.

    Raises:
        InputError: the folder has no known layout, or the marks of two.
    """
    marks = marks_of(root)
    if len(marks) > 1:
        one, other, *_ = sorted(marks.values(), key=lambda mark: not mark.endswith("/"))
        raise InputError(f"{root} has both {one} and {other}: move the one away that does not count")
    if found := next((layout for layout in marks or LAYOUTS if marks or layout.resembles(root)), None):
        return found.opened(root, Path(sbd_path) if sbd_path else None)
    raise InputError(why_no_layout(root))


def why_no_layout(root: Path) -> str:
    """The error message for a `--data-path` that is no data set."""
    if not root.exists():
        parent = root.absolute().parent
        beside = [path.name for path in parent.iterdir() if path.is_dir()] if parent.is_dir() else []
        return f"--data-path {root} does not exist{did_you_mean(root.name, beside)}"
    if not root.is_dir():
        return f"--data-path {root} is a file: name the folder of the data set"
    forms = "; or ".join(layout.description for layout in LAYOUTS if layout.description)
    return f"{root} holds no data set: --data-path must name a folder {forms}"


def classes_at(root: Path) -> tuple[str, ...]:
    """Class names without background of a folder that may hold only `classes.txt` or a layout's empty sub-folders."""
    return class_names(root, next(iter(marks_of(root)), Layout).published_classes)


def find_mask(folder: Path, image_id: str) -> Path:
    """The mask of an image in a folder, under any file name that a layout uses.

    Returns:
        The first existing file; `<id>.png` if none exists.
    """
    names = [name for layout in LAYOUTS for name in layout.file_names(image_id)]
    if not image_id.isascii():
        names.append(unicodedata.normalize("NFD", image_id))  # macOS decomposes accents in file names
    found = (path for name in (image_id, *names) if (path := folder / f"{name}.png").exists())
    return next(found, folder / f"{image_id}.png")


def read_truth(layout: Layout, image_id: str) -> np.ndarray:
    """The mask of an image, (H, W) of `label_type`, in the orientation of `open_rgb`.

    Raises:
        InputError: it is missing, no mask, or differs from the image in size.
    """
    path, image_path = layout.mask_path(image_id), layout.image_path(image_id)
    return read_upright_mask(path, image_path, upright_size(image_path), len(layout.classes))
