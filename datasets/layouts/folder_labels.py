"""What is in the images of a folder: a table, a JSON file, or the sub-folders of the classes say it."""

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from utils.errors import InputError
from utils.images import is_image_name

from ..labels import table_rows
from ..lists import LONGEST_ID

LABEL_FILES = ("labels.csv", "labels.json")
RESERVED = ("images", "masks", "SegmentationClass", "lists", "ImageSets")
"""Sub-folders that are no classes."""


class LabelledImage(NamedTuple):
    """An image, and what is said to be in it."""

    path: Path
    labels: Sequence[str]
    place: str  # that says so, for messages


def label_files(root: Path) -> list[Path]:
    """Files in a folder that say what is in its images: none, one, or, which is one too many, two."""
    return [root / name for name in LABEL_FILES if (root / name).is_file()]


def class_folders(root: Path) -> list[Path]:
    """The folders of the classes of a data set that has one for each.

    Raises:
        InputError: it is not certain that this is what they are.
    """
    folders = visible_folders(root)
    remedy = "write labels.csv, lines image,label,…, or labels.json, or put every image into the sub-folder of its class"
    for place in (root, root / "images"):
        if holds_images(place):
            raise InputError(f"{place} holds images, and nothing says what is in them: {remedy}")
    if not folders:
        raise InputError(f"{root} holds no images in sub-folders: {remedy}")
    for folder in folders:
        if not holds_images(folder) or visible_folders(folder):
            what = "holds folders" if visible_folders(folder) else "holds no image"
            raise InputError(
                f"{folder} {what}: without labels.csv or labels.json every sub-folder is a class and holds its images alone"
            )
    if len(folders) == 1 and not (root / "classes.txt").is_file():
        raise InputError(
            f"{folders[0]} is the only folder of images: name it in classes.txt if it is a class, else {remedy}"
        )
    return folders


def labelled_images(root: Path, source: Path) -> dict[str, LabelledImage]:
    """All images of a data set by their ids, in the order of their labels.

    Args:
        root: the data set.
        source: its file of labels, or itself where sub-folders are classes.

    Raises:
        InputError: the labels are damaged, an image is missing or named twice, or two images have one id.
    """
    read = {".csv": csv_images, ".json": json_images}[source.suffix] if source != root else folder_images
    images: dict[str, LabelledImage] = {}
    for image in read(source):
        image_id = id_of(image.path.relative_to(root).as_posix())
        if image_id.splitlines() != [image_id] or len(image_id) > LONGEST_ID:
            raise InputError(f"{image.place}: no file can be named after {image_id[:LONGEST_ID]!r}: rename that image")
        if (other := images.get(image_id)) is not None:
            if other.path == image.path:
                raise InputError(f"{image.place} names {image_id!r} again, after {other.place}: give all its labels in one")
            raise InputError(f"{image.path} and {other.path} would both have the id {image_id!r}: rename one of them")
        images[image_id] = image
    if not images:
        raise InputError(f"{source} names no image")
    return images


def csv_images(path: Path) -> Iterator[LabelledImage]:
    """Images of a table `image,label,label,…`; blank lines and cells do not count."""
    files = ImageFiles(path.parent)
    for line, row in table_rows(path):
        name, *labels = [cell.strip() for cell in row] or [""]
        labels = [label for label in labels if label]
        is_header = line == 1 and name.casefold() == "image" and not files.spelt(name)
        if (name or labels) and not is_header:
            place = f"{path} line {line}"
            yield LabelledImage(files.find(name, place), labels, place)


def json_images(path: Path) -> Iterator[LabelledImage]:
    """Images of `{"image": ["label", …], …}`.

    Raises:
        InputError: the file is damaged or has another form.
    """
    try:
        # Pairs in place of dictionaries, so that an image named twice is seen.
        content = json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=tuple)
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} is no JSON: {error}") from error
    if not isinstance(content, tuple):
        raise InputError(f'{path} must hold {{"image": ["label", …], …}}')
    files = ImageFiles(path.parent)
    for name, labels in content:
        if not isinstance(labels, list) or not all(isinstance(label, str) and label.strip() for label in labels):
            raise InputError(f"{path}: the labels of {name!r} must be a list of names")
        yield LabelledImage(files.find(name, str(path)), [label.strip() for label in labels], f"{path}: {name!r}")


def folder_images(root: Path) -> Iterator[LabelledImage]:
    """Images of a data set with one folder per class."""
    for folder in class_folders(root):
        for name in sorted(image_names(folder)):
            yield LabelledImage(folder / name, [folder.name], str(folder))


class ImageFiles:
    """Finds the image files of a data set by their names; every folder is listed once.

    Args:
        root: names are relative to it or to its `images/`.
    """

    def __init__(self, root: Path):
        self.root = root
        self.listings: dict[str, tuple[dict[str, list[Path]], dict[str, list[Path]]]] = {}

    def find(self, name: str, place: str) -> Path:
        """The file of an image that is named with or without suffix.

        Args:
            name: relative path, with forward slashes.
            place: that names it, for messages.

        Raises:
            InputError: there is none, or there are several.
        """
        path = PurePosixPath(name)
        if not path.name or path.is_absolute() or ".." in path.parts or "\\" in name:
            raise InputError(f"{place} names {name!r}, which is no image inside {self.root} (folders are told apart by /)")
        found = self.spelt(name)
        if not found:
            raise InputError(f"{place} names {name!r}, and there is no such image in {self.root} or its images/")
        if len(found) > 1:
            raise InputError(f"{place} names {name!r}, which may be {found[0]} or {found[1]}: move one of them away")
        return found[0]

    def spelt(self, name: str) -> list[Path]:
        """All image files that a name can mean: where none has that very name, those that have it as stem."""
        folder, _, file = str(PurePosixPath(name)).rpartition("/")
        by_name, by_stem = self.listing(folder)
        return by_name.get(file) or by_stem.get(file, [])

    def listing(self, folder: str) -> tuple[dict[str, list[Path]], dict[str, list[Path]]]:
        """The image files of a folder in both places, by their names and by their stems."""
        if folder not in self.listings:
            by_name: dict[str, list[Path]] = {}
            by_stem: dict[str, list[Path]] = {}
            for place in (self.root / folder, self.root / "images" / folder):
                for name in sorted(image_names(place)):
                    by_name.setdefault(name, []).append(place / name)
                    by_stem.setdefault(PurePosixPath(name).stem, []).append(place / name)
            self.listings[folder] = by_name, by_stem
        return self.listings[folder]


def id_of(name: str) -> str:
    """`images/dog/1.jpg` -> `dog__1`: the id of an image from its path in the data set, with or without suffix."""
    path = PurePosixPath(name)
    folders = path.parent.parts
    if folders[:1] == ("images",):
        folders = folders[1:]
    return "__".join((*folders, path.stem if is_image_name(path.name) else path.name))


def image_names(folder: Path) -> Iterator[str]:
    """Names of the image files in a folder, in no order; none where there is no such folder."""
    return (entry.name for entry in entries(folder) if is_image_name(entry.name) and entry.is_file())


def holds_images(folder: Path) -> bool:
    """Whether there is an image file in a folder itself."""
    return next(image_names(folder), None) is not None


def visible_folders(root: Path) -> list[Path]:
    """Sub-folders that may be classes, sorted."""
    names = (entry.name for entry in entries(root) if not entry.name.startswith(".") and entry.is_dir())
    return [root / name for name in sorted(names) if name not in RESERVED]


def entries(folder: Path) -> Iterator[os.DirEntry]:
    """What is in a folder; nothing where there is no such folder."""
    try:
        with os.scandir(folder) as found:
            yield from found
    except (OSError, ValueError):  # no folder, or a name that no folder can have
        return
