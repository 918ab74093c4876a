"""The layout of the PASCAL VOC devkit, with the training list from SBD."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from utils.errors import InputError
from utils.files import state_of
from utils.images import IMAGE_SUFFIXES, is_image_name
from utils.records import claim_file

from ..labels.image_labels import xml_labels
from ..lists import read_ids, split_count
from .base import Layout

SUFFIXES = (*IMAGE_SUFFIXES, *map(str.upper, IMAGE_SUFFIXES))


@dataclass(frozen=True)
class VocLayout(Layout):
    """A folder with JPEGImages, Annotations, ImageSets and, for scoring, SegmentationClass.

    Args:
        root: `VOCdevkit/VOC2012` or a folder with the same structure.
        sbd_path: the SBD release; None: `SBD` inside `root`.
    """

    sbd_path: Path | None = None

    description = "in VOC layout, with JPEGImages/ (PASCAL VOC 2012: http://host.robots.ox.ac.uk/pascal/VOC/voc2012/)"

    @classmethod
    def mark(cls, root: Path) -> str:
        """The folder of the images."""
        return "JPEGImages/" if (root / "JPEGImages").is_dir() else ""

    @classmethod
    def opened(cls, root: Path, sbd_path: Path | None) -> "VocLayout":
        """The data set in a folder, with the given SBD release."""
        return cls(root, sbd_path)

    def __post_init__(self) -> None:
        if not self.mark(self.root):
            raise InputError(f"{self.root}/JPEGImages is missing: --data-path must name a folder {self.description}")

    def image_path(self, image_id: str) -> Path:
        """The image file of an id.

        Raises:
            InputError: the data set has no such image.
        """
        for suffix in SUFFIXES:
            path = f"{self.image_folder}/{image_id}{suffix}"  # not a Path: a start on 100,000 images is 12 % shorter
            if state_of(path) is not None:
                return Path(path)
        if image_id in self.in_mixed_case:
            return self.in_mixed_case[image_id]
        raise InputError(f"{self.root / 'JPEGImages' / image_id}.jpg is missing")

    @functools.cached_property
    def image_folder(self) -> str:
        """The folder of the images."""
        return str(self.root / "JPEGImages")

    @functools.cached_property
    def in_mixed_case(self) -> dict[str, Path]:
        """Images by id whose suffix has small and capital letters, such as `a.Jpg`; the folder is searched only once."""
        found = sorted(path for path in (self.root / "JPEGImages").iterdir() if is_image_name(path.name))
        return {path.stem: path for path in found if path.suffix not in (path.suffix.lower(), path.suffix.upper())}

    def labels(self, ids: Sequence[str]) -> np.ndarray:
        """Image-level labels of n images, from their annotations: (n, C) bool.

        Raises:
            InputError: an annotation is missing or damaged, or names an object that is no class of the data set.
        """
        return xml_labels(self.root / "Annotations", ids, self.classes)

    def training_ids(self, train_list: str = "") -> tuple[list[str], str]:
        """Ids to train on, and a description of where they come from.

        Args:
            train_list: name of a list; empty: `train_aug`, or else the first that exists of SegmentationClassAug, SBD with
                train, and ImageSets/Main/trainval, each without the images of val; or else train.

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
        augmented_folder = self.root / "SegmentationClassAug"
        if claim_file(augmented_folder).exists():  # of `datasets.prepare`, which writes train_aug last
            raise InputError(f"{augmented_folder} is not complete: run python -m datasets.prepare voc again")
        augmented = sorted(path.stem for path in augmented_folder.glob("[!.]*.png"))
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
    """The folder with lists and annotations inside the SBD release (http://home.bharathh.info/pubs/codes/SBD).

    Raises:
        InputError: `root` is not that release.
    """
    for folder in (root, root / "dataset", root / "benchmark_RELEASE" / "dataset"):
        if (folder / "cls").is_dir() or (folder / "train.txt").exists() or (folder / "val.txt").exists():
            return folder
    raise InputError(f"{root} is not the SBD release: it has neither train.txt and val.txt nor cls/*.mat")


def sbd_ids(root: Path) -> list[str]:
    """Ids of the SBD release: from its lists, or without lists from its annotations."""
    folder = sbd_folder(root)
    lists = [folder / name for name in ("train.txt", "val.txt") if (folder / name).exists()]
    if lists:
        return sorted({i for path in lists for i in read_ids(path)})
    return sorted(path.stem for path in (folder / "cls").glob("[!.]*.mat"))
