"""The layout of MS-COCO 2014.

An image's id is the stem of its file, `COCO_train2014_000000000009`. Lists may also give its number, with or without
leading zeros. Masks are in `SegmentationClass/` or `SegmentationClass/<split>/`, named by id or number.
"""

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from utils.cams.masks import read_mask
from utils.errors import InputError
from utils.folders import is_hidden
from utils.scoring.metrics import IGNORE

from ..labels.classes import COCO_CLASSES
from ..labels.image_labels import read_once, table_rows
from ..lists import read_ids, require_distinct
from .base import Layout
from .coco_annotations import annotated_classes

COCO_SPLITS = ("train2014", "val2014")
ID_PATTERN = re.compile(r"(?:COCO_([a-z]+20\d\d)_)?(\d{1,12})")


@dataclass(frozen=True)
class CocoLayout(Layout):
    """A folder with train2014 and val2014, annotations, and, for scoring, SegmentationClass.

    Args:
        root: `data/COCO2014` or a folder with the same structure.
    """

    description = "of COCO, with train2014/ (https://cocodataset.org/#download)"
    published_classes = COCO_CLASSES
    usual_list = "train2014"

    @classmethod
    def mark(cls, root: Path) -> str:
        """The folder of one of the splits."""
        return next((f"{split}/" for split in COCO_SPLITS if (root / split).is_dir()), "")

    @classmethod
    def fits(cls, root: Path, guess: bool = False) -> bool:
        """Whether a split has images; a folder of masks can have sub-folders of the same names."""
        return any(next((root / split).glob("*.jpg"), None) for split in COCO_SPLITS)

    @classmethod
    def file_names(cls, image_id: str) -> Iterable[str]:
        """All spellings of a COCO id, with and without the split's sub-folder."""
        if not ID_PATTERN.fullmatch(image_id):
            return ()
        names = ((split, stem) for split in splits_of(image_id) for stem in spellings(image_id, split))
        return [name for split, stem in names for name in (f"{split}/{stem}", stem)]

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

    def listed_ids(self, path: Path) -> list[str]:
        """Ids of a list file, which may give ids or numbers."""
        try:
            ids = [self.image_path(image_id).stem for image_id in read_ids(path)]
        except InputError as error:
            raise InputError(f"{path}: {error}") from error
        require_distinct(ids, path)
        return ids

    def unlisted_ids(self, name: str) -> list[str]:
        """Ids of a split: `train` or `train2014` is all images of the folder."""
        split = name if name in COCO_SPLITS else f"{name}2014"
        if split in COCO_SPLITS:
            return self.split_ids(split)
        others = f"name another list, a file, or one of {', '.join(COCO_SPLITS)}"
        raise InputError(f"{self.list_path(name)} is missing: {others}{self.meant(name, COCO_SPLITS)}")

    def split_ids(self, split: str) -> list[str]:
        """Ids of all images of `train2014` or `val2014`.

        Raises:
            InputError: there is none.
        """
        folder = self.root / split
        names = [entry.name for entry in os.scandir(folder)] if folder.is_dir() else []
        ids = sorted(name.removesuffix(".jpg") for name in names if name.endswith(".jpg") and not is_hidden(name))
        if not ids:
            raise InputError(f"{folder} holds no image")
        return ids

    def labels(self, ids: Sequence[str]) -> np.ndarray:
        """Image-level labels of n images: (n, C) bool.

        The source for each split is the first that exists of `annotations/instances_<split>.json`, the table
        `annotations/labels_<split>.csv` (written by `python -m datasets.prepare coco`), and the masks. An image can have a
        label that its mask lacks, if all pixels of the class are in a crowd region or covered by smaller objects.

        Raises:
            InputError: there is no source, or it is damaged or lacks an image.
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
        """The source of a split's labels: a file, or the folder of masks."""
        folder = self.root / "annotations"
        files = (folder / f"instances_{split}.json", folder / f"labels_{split}.csv")
        return next((path for path in files if path.is_file()), self.mask_folder)

    def classes_present(self, split: str, ids: Sequence[str]) -> Iterator[list[int]]:
        """Class indices of each of the images, which belong to one split."""
        source = self.label_source(split)
        if source == self.mask_folder:
            if not source.is_dir():
                raise InputError(
                    f"{self.root}: nothing says what is in the images of {split}: there is neither "
                    f"annotations/instances_{split}.json nor annotations/labels_{split}.csv nor SegmentationClass/"
                )
            paths = {image_id: self.mask_path(image_id) for image_id in ids}
            for image_id, present in read_once(source, paths, mask_classes).items():
                # Checked for cached values too, because classes.txt may have changed.
                if present and present[-1] >= len(self.classes):
                    raise InputError(
                        f"{paths[image_id]} holds class {present[-1] + 1}; there are {len(self.classes)} classes"
                    )
                yield present
            return
        read = table_classes if source.suffix == ".csv" else annotated_classes
        table = read(source, self.classes)
        for image_id in ids:
            number = image_number(image_id)
            if number not in table:
                raise InputError(f"{source} does not know image {image_id}")
            yield table[number]


def image_number(image_id: str) -> int:
    """The number in an id: 9 for `COCO_train2014_000000000009`, `000000000009` or `9`.

    Raises:
        InputError: the id has another form.
    """
    match = ID_PATTERN.fullmatch(image_id)
    if not match:
        raise InputError(f"{image_id!r} is no COCO image id, such as COCO_train2014_000000000009 or 9")
    return int(match[2])


def splits_of(image_id: str) -> tuple[str, ...]:
    """The split in an id; all splits for an id that is only a number."""
    match = ID_PATTERN.fullmatch(image_id)
    return (match[1],) if match and match[1] else COCO_SPLITS


def spellings(image_id: str, split: str) -> tuple[str, ...]:
    """File stems that are in use for an image of a split."""
    number = image_number(image_id)
    return tuple(dict.fromkeys((image_id, f"COCO_{split}_{number:012d}", f"{number:012d}", str(number))))


def mask_classes(path: Path) -> list[int]:
    """Class indices that occur in a mask, ascending."""
    values = np.unique(read_mask(path, None, IGNORE - 1)).tolist()
    return [value - 1 for value in values if value not in (0, IGNORE)]


def table_classes(path: Path, classes: Sequence[str]) -> dict[int, list[int]]:
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
