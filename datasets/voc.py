"""Data sets in the layout of the PASCAL VOC devkit: where things are, and which images belong to which set."""

import functools
from dataclasses import dataclass
from pathlib import Path

from utils.errors import InputError

from .classes import class_names, read_lines

IMAGE_SUFFIXES = (".jpg", ".png", ".jpeg", ".JPEG")


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
                f"{self.root}/JPEGImages is missing: --data-path must name a folder in VOC layout "
                "(PASCAL VOC 2012: http://host.robots.ox.ac.uk/pascal/VOC/voc2012/)"
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

    def annotation_path(self, image_id: str) -> Path:
        """The XML with the image's labels."""
        return self.root / "Annotations" / f"{image_id}.xml"

    @property
    def mask_folder(self) -> Path:
        """Where the ground truth is, if there is any: only scoring needs it."""
        return self.root / "SegmentationClass"

    def mask_path(self, image_id: str) -> Path:
        """The ground truth of an id."""
        return self.mask_folder / f"{image_id}.png"

    def read_list(self, name: str) -> list[str]:
        """Image ids of a list: a file, or a name in ImageSets/Segmentation.

        Raises:
            InputError: the list is missing, empty or names an image twice.
        """
        return read_ids(self.list_path(name))

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
            path = self.list_path(train_list or "train_aug")
            return read_ids(path), str(path)
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


def find_list(root: Path, name: str) -> Path:
    """The file of a list: `name` where that is a file, else the one in ImageSets/Segmentation of the data set."""
    path = Path(name)
    if path.is_file():
        return path
    return root / "ImageSets" / "Segmentation" / (name if path.suffix == ".txt" else f"{name}.txt")


def read_ids(path: Path) -> list[str]:
    """Image ids of a list file: one per line, alone or as the file name in the line's first column."""
    if not path.is_file():
        raise InputError(f"{path} is missing: name another list, or a file with one image id per line")
    columns = [line.split() for line in read_lines(path)]
    # Lists of VOC hold "2007_000032", those of SBD and its users "/JPEGImages/2007_000032.jpg /Segm…".
    ids = [first.rsplit("/", 1)[-1] for first, *_ in filter(None, columns)]
    ids = [Path(i).stem if i.endswith(IMAGE_SUFFIXES) else i for i in ids]
    if not ids:
        raise InputError(f"{path} names no image")
    if len(set(ids)) < len(ids):
        seen: set[str] = set()
        twice = next(i for i in ids if i in seen or seen.add(i))
        raise InputError(f"{path} names {twice} twice")
    if bad := next((i for i in ids if not i.strip(".") or "\\" in i), None):
        raise InputError(f"{path}: {bad!r} is no image id")
    return ids


def sbd_ids(root: Path) -> list[str]:
    """Ids of the SBD release (http://home.bharathh.info/pubs/codes/SBD): of its lists, else of its annotations."""
    for folder in (root, root / "dataset", root / "benchmark_RELEASE" / "dataset"):
        lists = [folder / name for name in ("train.txt", "val.txt") if (folder / name).exists()]
        if lists:
            return sorted({i for path in lists for i in read_ids(path)})
        if (folder / "cls").is_dir():
            return sorted(path.stem for path in (folder / "cls").glob("*.mat"))
    raise InputError(f"{root} is not the SBD release: it has neither train.txt and val.txt nor cls/*.mat")
