"""Data sets in the layout of the PASCAL VOC devkit: where things are, and which images belong to which set."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from utils.errors import InputError

from ..classes import class_names
from ..labels import xml_labels
from ..lists import IMAGE_SUFFIXES, draw, find_list, read_ids, split_count


@dataclass(frozen=True)
class VocLayout:
    """A folder with JPEGImages, Annotations, ImageSets and, for scoring, SegmentationClass.

    Args:
        root: `VOCdevkit/VOC2012` or a folder of the same shape.
        sbd_path: the SBD release; empty looks for `SBD` inside `root`.
    """

    root: Path
    sbd_path: Path | None = None

    def __post_init__(self):
        if not (self.root / "JPEGImages").is_dir():
            raise InputError(
                f"{self.root}/JPEGImages is missing: --data-path must name a folder in VOC layout (PASCAL VOC 2012: "
                "http://host.robots.ox.ac.uk/pascal/VOC/voc2012/) or COCO's, with train2014/ (https://cocodataset.org/#download)"
                ", or of your own images with labels.csv, labels.json or a sub-folder per class (docs/own_data.md)"
            )

    @functools.cached_property
    def classes(self) -> tuple[str, ...]:
        """Class names without background."""
        return class_names(self.root)

    def image_path(self, image_id: str) -> Path:
        """The image file of an id.

        Raises:
            InputError: there is none.
        """
        for suffix in IMAGE_SUFFIXES:
            path = self.root / "JPEGImages" / (image_id + suffix)
            if path.exists():
                return path
        raise InputError(f"{self.root / 'JPEGImages' / image_id}.jpg is missing")

    @property
    def mask_folder(self) -> Path:
        """Where the ground truth is, if there is any: only scoring needs it."""
        return self.root / "SegmentationClass"

    def mask_path(self, image_id: str) -> Path:
        """The ground truth of an id."""
        return self.mask_folder / f"{image_id}.png"

    def read_list(self, name: str) -> list[str]:
        """Image ids of a list: a file, or a name in ImageSets/Segmentation; `name:count` draws some of them (`draw`).

        Raises:
            InputError: the list is missing, empty or names an image twice.
        """
        name, count = split_count(name)
        return draw(read_ids(self.list_path(name)), count)

    def labels(self, ids: Sequence[str]) -> np.ndarray:
        """Which classes are in which of n images, by their annotations: (n, C) bool.

        Raises:
            InputError: an annotation is missing, broken, or names an object that is no class of the data set.
        """
        return xml_labels(self.root / "Annotations", ids, self.classes)

    def list_path(self, name: str) -> Path:
        """The file of a list, whether it exists or not."""
        return find_list(self.root, name)

    def training_ids(self, train_list: str = "") -> tuple[list[str], str]:
        """Ids to train on, and a description of where they come from.

        Args:
            train_list: a list to take; empty takes `train_aug`, or derives the same set: all of SegmentationClassAug
                less val, else SBD and train less val, else ImageSets/Main/trainval less val, else train.

        Raises:
            InputError: there is no image to train on.
        """
        if train_list or self.list_path("train_aug").exists():
            name = train_list or "train_aug"
            return self.read_list(name), str(self.list_path(split_count(name)[0]))
        if self.sbd_path is not None and not self.sbd_path.is_dir():
            raise InputError(f"--sbd-path {self.sbd_path} is no folder")
        has_val = self.list_path("val").exists()
        held_out = set(self.read_list("val")) if has_val else set()
        sbd = self.sbd_path or self.root / "SBD"
        main = self.root / "ImageSets" / "Main" / "trainval.txt"
        augmented = sorted(path.stem for path in (self.root / "SegmentationClassAug").glob("*.png"))
        if augmented:
            ids, source = augmented, "SegmentationClassAug"
        elif sbd.is_dir():
            ids, source = sbd_ids(sbd), str(sbd)
            if self.list_path("train").exists():
                ids, source = sorted({*ids, *self.read_list("train")}), f"{sbd} and train"
        elif main.exists():
            ids, source = read_ids(main), "ImageSets/Main/trainval"
        else:
            return self.read_list("train"), str(self.list_path("train"))
        source += " less val" if has_val else ", nothing held out, for there is no list val"
        ids = [i for i in ids if i not in held_out]
        if not ids:
            raise InputError(f"{self.root}: {source} leaves no image to train on")
        return ids, source


def sbd_folder(root: Path) -> Path:
    """The folder with the annotations inside the SBD release (http://home.bharathh.info/pubs/codes/SBD), however unpacked.

    Raises:
        InputError: `root` is not that release.
    """
    for folder in (root, root / "dataset", root / "benchmark_RELEASE" / "dataset"):
        if (folder / "cls").is_dir() or (folder / "train.txt").exists() or (folder / "val.txt").exists():
            return folder
    raise InputError(f"{root} is not the SBD release: it has neither train.txt and val.txt nor cls/*.mat")


def sbd_ids(root: Path) -> list[str]:
    """Ids of the SBD release: of its lists, else of its annotations."""
    folder = sbd_folder(root)
    lists = [folder / name for name in ("train.txt", "val.txt") if (folder / name).exists()]
    if lists:
        return sorted({i for path in lists for i in read_ids(path)})
    return sorted(path.stem for path in (folder / "cls").glob("*.mat"))
