"""The layout of users' own images: a folder with a file of labels, or with one sub-folder per class.

The source of the labels is the first of these that exists (`datasets.layouts.folder_labels`):

- `labels.csv`, with a line `image,label,label,…` for each image, and optionally a header `image,…`;
- `labels.json`, `{"image": ["label", …], …}`;
- one sub-folder per class: `dog/1.jpg` shows a dog.

Both files give image paths relative to the folder or to its `images/`, with or without suffix. Without either file, every
sub-folder but `RESERVED` is a class. Each must hold images and no sub-folders, no image may be elsewhere, and there must be
at least two, or a `classes.txt` with the only one; so a plain folder of images or of splits is never mistaken for classes.
A folder with the marks of VOC or COCO has that layout; with a file of labels as well, it is refused.

An image's id is its path inside the folder or its `images/`, without suffix and with `__` for each slash: `dog__1` for
`dog/1.jpg`. CAMs, pictures and masks are named by id, in one folder without sub-folders: `dog__1.npy`, `masks/dog__1.png`.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from utils.errors import InputError, did_you_mean

from ..labels.classes import class_names, read_lines, require_class_names
from ..lists import LONGEST_ID, find_own_list, require_distinct, split_count
from .base import Layout
from .folder_labels import (
    LABEL_FILES,
    LabelledImage,
    Labelling,
    class_folders,
    holds_images,
    id_of,
    label_files,
    labelled_images,
    left_out_of,
    visible_folders,
)


@dataclass(frozen=True)
class FolderLayout(Layout):
    """A folder of images with labels.csv, labels.json or one sub-folder per class.

    Masks (`<id>.png` in `masks/` or `SegmentationClass/`) are needed only for scoring. Lists, with one image per line, are
    optional (in `lists/` or `ImageSets/Segmentation/`).

    Args:
        root: the folder.

    Raises:
        InputError: the folder has no labels, or two files of labels or two folders of masks.
    """

    description = "of your own images with labels.csv, labels.json or a sub-folder per class (docs/own_data.md)"

    @classmethod
    def mark(cls, root: Path) -> str:
        """The file of labels."""
        return next((path.name for path in label_files(root)), "")

    @classmethod
    def fits(cls, root: Path, guess: bool = False) -> bool:
        """Whether there is a file of labels or one sub-folder per class; the latter is only guessed with a `classes.txt`."""
        if label_files(root):
            return True
        if guess and not (root / "classes.txt").is_file():
            return False
        try:
            return bool(class_folders(root))
        except InputError:
            return False

    @classmethod
    def resembles(cls, root: Path) -> bool:
        """Whether there are images in the folder, its `images/` or another sub-folder."""
        return any(map(holds_images, (root, root / "images", *visible_folders(root))))

    def __post_init__(self) -> None:
        for names in (LABEL_FILES, ("masks", "SegmentationClass")):
            if all((self.root / name).exists() for name in names):
                raise InputError(f"{self.root} has both {names[0]} and {names[1]}: move the one away that does not count")
        if not label_files(self.root):
            class_folders(self.root)

    def __reduce__(self) -> tuple[Callable[[Path], "FolderLayout"], tuple[Path]]:
        # Pickled by its path: each worker process reads the labels once instead of receiving them with every task.
        return reopened, (self.root,)

    @property
    def source(self) -> Path:
        """The source of the labels: a file, or the root if sub-folders are classes."""
        return next(iter(label_files(self.root)), self.root)

    @functools.cached_property
    def labelling(self) -> Labelling:
        """The labels of all images.

        Raises:
            InputError: the labels are damaged or ambiguous, an image is missing or named twice, or two images have one id.
        """
        known = class_names(self.root) if (self.root / "classes.txt").exists() else ()
        return labelled_images(self.root, self.source, known)

    @property
    def images(self) -> dict[str, LabelledImage]:
        """All images by id, in the order of the label source."""
        return self.labelling.images

    @functools.cached_property
    def classes(self) -> tuple[str, ...]:
        """Class names without background: of `classes.txt`, else all labels that occur, sorted."""
        if (self.root / "classes.txt").exists():
            return class_names(self.root)
        require_class_names(self.labelling.classes, self.source)
        return self.labelling.classes

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes for the log on interpreted labels, images without labels, and files that are no images."""
        left_out = left_out_of(self.root, (image.path for image in self.images.values()), self.source)
        return (*self.labelling.notes, *left_out)

    def image_path(self, image_id: str) -> Path:
        """The image file of an id.

        Raises:
            InputError: the data set has no such image.
        """
        return self.image(image_id).path

    def image(self, image_id: str) -> LabelledImage:
        """Path and labels of an id.

        Raises:
            InputError: the data set has no such image.
        """
        if image_id not in self.images:
            raise InputError(f"{self.source} knows no image {image_id!r}")
        return self.images[image_id]

    @property
    def mask_folder(self) -> Path:
        """The folder of the ground-truth masks; it need not exist, only scoring needs it."""
        devkit = self.root / "SegmentationClass"
        return devkit if devkit.is_dir() else self.root / "masks"

    def list_path(self, name: str) -> Path:
        """The file of a list, whether it exists or not."""
        return find_own_list(self.root, name)

    def unlisted_ids(self, name: str) -> list[str]:
        """Ids of `all`: all images; or of `train`: all images but those of the list `val`."""
        if name == "all":
            return list(self.images)
        path, val = self.list_path(name), self.list_path("val")
        if name != "train":
            others = "name another list, a file with one image per line, or all, for all images"
            raise InputError(f"{path} is missing: {others}{self.meant(name, ('all', 'train'))}")
        held_out = set(self.listed_ids(val)) if val.is_file() else set()
        ids = [image_id for image_id in self.images if image_id not in held_out]
        if not ids:
            raise InputError(f"{val} leaves no image to train on")
        return ids

    def listed_ids(self, path: Path) -> list[str]:
        """Ids of a list file, which may give ids or file names."""
        lines = [line.strip() for line in read_lines(path) if line.strip()]
        ids = [line if line in self.images else id_of(line) for line in lines]
        if not ids:
            raise InputError(f"{path} names no image")
        for line, image_id in zip(lines, ids, strict=True):
            if image_id not in self.images:
                raise InputError(f"{path} names {line[:LONGEST_ID]!r}, which {self.source} does not know")
        require_distinct(ids, path)
        return ids

    def training_ids(self, train_list: str = "") -> tuple[list[str], str]:
        """Ids to train on, and a description of where they come from.

        Args:
            train_list: name of a list; empty: the list `train`, or all images but those of the list `val`.

        Raises:
            InputError: there is no image to train on.
        """
        ids, source = super().training_ids(train_list)
        if not Path(source).is_file():
            less = split_count(train_list or self.usual_list)[0] == "train" and self.list_path("val").is_file()
            source = f"{self.source}{' less val' * less}"
        return ids, source

    def labels(self, ids: Sequence[str]) -> np.ndarray:
        """Image-level labels of n images: (n, C) bool.

        Raises:
            InputError: an image does not exist, or has a label that is not in `classes.txt`.
        """
        index = {name: c for c, name in enumerate(self.classes)}
        labels = np.zeros((len(ids), len(index)), bool)
        for row, image in zip(labels, map(self.image, ids), strict=True):
            for label in image.labels:
                if label not in index:
                    raise InputError(
                        f"{image.place} has the label {label!r}, none of the {len(index)} in classes.txt"
                        f"{did_you_mean(label, index)}"
                    )
                row[index[label]] = True
        return labels


@functools.lru_cache(maxsize=1)
def reopened(root: Path) -> FolderLayout:
    """The data set in a worker process, cached so that its labels are read once for all tasks."""
    return FolderLayout(root)
