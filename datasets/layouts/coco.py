"""MS-COCO 2014: where things are, and what is in each image.

An image's id is the stem of its file, `COCO_train2014_000000000009`. Lists may name it by its number too, with or without
zeros in front. Masks are found under `SegmentationClass/` or `SegmentationClass/<split>/`, named by id or number.
"""

import functools
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from utils.cams.masks import read_mask
from utils.errors import InputError
from utils.scoring.metrics import IGNORE

from ..classes import COCO_SPLITS, class_names
from ..labels import read_once, table_rows
from ..lists import draw, find_list, read_ids, require_distinct, split_count
from .coco_annotations import annotated_classes

ID_PATTERN = re.compile(r"(?:COCO_([a-z]+20\d\d)_)?(\d{1,12})")


@dataclass(frozen=True)
class CocoLayout:
    """A folder with train2014 and val2014, annotations or masks, and, for scoring, SegmentationClass.

    Args:
        root: `data/COCO2014` or a folder of the same shape.
    """

    root: Path

    @functools.cached_property
    def classes(self) -> tuple[str, ...]:
        """Class names without background: the official 80, or those of `classes.txt`."""
        return class_names(self.root)

    def image_path(self, image_id: str) -> Path:
        """The image file of an id.

        Raises:
            InputError: there is none.
        """
        for split in splits_of(image_id):
            for stem in spellings(image_id, split):
                path = self.root / split / f"{stem}.jpg"
                if path.exists():
                    return path
        raise InputError(f"{self.root} holds no image {image_id} in {' or '.join(splits_of(image_id))}")

    @property
    def mask_folder(self) -> Path:
        """Where the ground truth is, if there is any: only scoring needs it."""
        return self.root / "SegmentationClass"

    def mask_path(self, image_id: str) -> Path:
        """The ground truth of an id."""
        return find_mask(self.mask_folder, image_id)

    def read_list(self, name: str) -> list[str]:
        """Image ids of a list.

        Args:
            name: a file, a name in ImageSets/Segmentation, or else a split: `train` or `train2014` is all of the folder;
                `name:count` draws some of them (`datasets.lists.draw`).

        Raises:
            InputError: the list is missing, empty, names an image twice or one that is not there.
        """
        name, count = split_count(name)
        path = find_list(self.root, name)
        if path.is_file():
            try:
                ids = [self.image_path(image_id).stem for image_id in read_ids(path)]
            except InputError as error:
                raise InputError(f"{path}: {error}") from error
            require_distinct(ids, path)
            return draw(ids, count)
        split = name if name in COCO_SPLITS else f"{name}2014"
        if split not in COCO_SPLITS:
            raise InputError(f"{path} is missing: name another list, a file, or one of {', '.join(COCO_SPLITS)}")
        return draw(self.split_ids(split), count)

    def split_ids(self, split: str) -> list[str]:
        """Ids of all images of `train2014` or `val2014`.

        Raises:
            InputError: there is none.
        """
        folder = self.root / split
        names = [entry.name for entry in os.scandir(folder)] if folder.is_dir() else []
        ids = sorted(name.removesuffix(".jpg") for name in names if name.endswith(".jpg"))
        if not ids:
            raise InputError(f"{folder} holds no image")
        return ids

    def training_ids(self, train_list: str = "") -> tuple[list[str], str]:
        """Ids to train on, and a description of where they come from.

        Args:
            train_list: a list to take; empty takes all of train2014.

        Raises:
            InputError: there is no image to train on.
        """
        name = train_list or "train2014"
        path = find_list(self.root, split_count(name)[0])
        return self.read_list(name), str(path if path.is_file() else self.root / name)

    def labels(self, ids: Sequence[str]) -> np.ndarray:
        """Which classes are in which of n images: (n, C) bool.

        Of every split, the first there is of: `annotations/instances_<split>.json`, a table `annotations/labels_<split>.csv`
        (`python -m datasets.prepare coco` writes it), the masks. An image can be labelled with a class that its mask lacks:
        all its pixels may belong to a crowd region or to smaller objects in front.

        Raises:
            InputError: there is no source, it is damaged, or it lacks an image.
        """
        labels = np.zeros((len(ids), len(self.classes)), bool)
        for split in dict.fromkeys(self.split_of(image_id) for image_id in ids):
            rows = [row for row, image_id in enumerate(ids) if self.split_of(image_id) == split]
            for row, present in zip(rows, self.classes_present(split, [ids[row] for row in rows]), strict=True):
                labels[row, present] = True
        return labels

    def split_of(self, image_id: str) -> str:
        """The split that an image belongs to."""
        splits = splits_of(image_id)
        return splits[0] if len(splits) == 1 else self.image_path(image_id).parent.name

    def label_source(self, split: str) -> Path:
        """Where the labels of a split come from: a file, or the folder of the masks."""
        folder = self.root / "annotations"
        files = (folder / f"instances_{split}.json", folder / f"labels_{split}.csv")
        return next((path for path in files if path.is_file()), self.mask_folder)

    def classes_present(self, split: str, ids: Sequence[str]) -> Iterator[list[int]]:
        """Indices of the classes in each of some images of one split."""
        source = self.label_source(split)
        if source == self.mask_folder:
            if not source.is_dir():
                raise InputError(
                    f"{self.root}: nothing says what is in the images of {split}: there is neither "
                    f"annotations/instances_{split}.json nor annotations/labels_{split}.csv nor SegmentationClass/"
                )
            paths = {image_id: self.mask_path(image_id) for image_id in ids}
            for image_id, present in read_once(source, paths, mask_classes).items():
                # Asked of the cache too: classes.txt may have changed since.
                if present and present[-1] >= len(self.classes):
                    raise InputError(
                        f"{paths[image_id]} holds class {present[-1] + 1}; there are {len(self.classes)} classes"
                    )
                yield present
            return
        read = read_label_table if source.suffix == ".csv" else annotated_classes
        table = read(source, self.classes)
        for image_id in ids:
            number = image_number(image_id)
            if number not in table:
                raise InputError(f"{source} does not know image {image_id}")
            yield table[number]


def image_number(image_id: str) -> int:
    """9 of `COCO_train2014_000000000009`, `000000000009` or `9`.

    Raises:
        InputError: the id has another form.
    """
    match = ID_PATTERN.fullmatch(image_id)
    if not match:
        raise InputError(f"{image_id!r} is no COCO image id, such as COCO_train2014_000000000009 or 9")
    return int(match[2])


def splits_of(image_id: str) -> tuple[str, ...]:
    """The split in an id, or all that it may belong to where it is only a number."""
    match = ID_PATTERN.fullmatch(image_id)
    return (match[1],) if match and match[1] else COCO_SPLITS


def spellings(image_id: str, split: str) -> tuple[str, ...]:
    """Stems under which files of an image of a split are found in the wild."""
    number = image_number(image_id)
    return tuple(dict.fromkeys((image_id, f"COCO_{split}_{number:012d}", f"{number:012d}", str(number))))


def find_mask(folder: Path, image_id: str) -> Path:
    """The mask of an image, of COCO or another data set, in a folder.

    Returns:
        `<id>.png` where that exists or nothing else does; for COCO's ids the other spellings and places too.
    """
    plain = folder / f"{image_id}.png"
    if plain.exists() or not ID_PATTERN.fullmatch(image_id):
        return plain
    for split in splits_of(image_id):
        for stem in spellings(image_id, split):
            for place in (folder / split, folder):
                if (place / f"{stem}.png").exists():
                    return place / f"{stem}.png"
    return plain


def mask_classes(path: Path) -> list[int]:
    """Indices of the classes that a mask shows, ascending."""
    values = np.unique(read_mask(path, None, IGNORE - 1)).tolist()
    return [value - 1 for value in values if value not in (0, IGNORE)]


def read_label_table(path: Path, classes: Sequence[str]) -> dict[int, list[int]]:
    """Class indices by image number, from lines `image,class,class,…`.

    Raises:
        InputError: the file is damaged or names something that is no class.
    """
    index = {name: c for c, name in enumerate(classes)}
    table = {}
    for _, row in table_rows(path):
        try:
            image_id, *names = row
            if (unknown := next((name for name in names if name not in index), None)) is not None:
                raise ValueError(f"{unknown!r} is none of the {len(index)} classes")
            table[image_number(Path(image_id).stem)] = sorted({index[name] for name in names})
        except (ValueError, InputError) as error:
            raise InputError(f"{path} is no table of labels: {error}") from error
    return table
