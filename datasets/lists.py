"""Lists of image ids: files with one id per line, and reproducible draws from them."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from utils.errors import InputError
from utils.images import is_image_name

from .labels.classes import read_lines

LONGEST_ID = 200
"""In characters: file names have at most 255 bytes, and class names and suffixes are appended to ids."""


def find_list(root: Path, name: str) -> Path:
    """The file of a list: `name` if that is a file, else the one in the data set's ImageSets/Segmentation."""
    path = Path(name)
    if path.is_file():
        return path
    return root / "ImageSets" / "Segmentation" / (name if path.suffix == ".txt" else f"{name}.txt")


def find_own_list(root: Path, name: str) -> Path:
    """`find_list`, or else the file in the data set's `lists`, for layouts of users' own images."""
    path = find_list(root, name)
    return path if path.is_file() else root / "lists" / (name if name.endswith(".txt") else f"{name}.txt")


def read_ids(path: Path) -> list[str]:
    """Image ids of a list file: one per line, as an id or as a path in the first column.

    Raises:
        InputError: the file is missing or empty, names an image twice, or holds an invalid id.
    """
    if not path.is_file():
        raise InputError(f"{path} is missing: name another list, or a file with one image id per line")
    columns = [line.split() for line in read_lines(path)]
    # VOC's lists have lines such as "2007_000032", SBD's and others "/JPEGImages/2007_000032.jpg /Segm…".
    ids = [first.rsplit("/", 1)[-1] for first, *_ in filter(None, columns)]
    ids = [Path(i).stem if is_image_name(i) else i for i in ids]
    if not ids:
        raise InputError(f"{path} names no image")
    require_distinct(ids, path)
    for image_id in ids:
        if not image_id.strip(".") or "\\" in image_id or "\0" in image_id or len(image_id) > LONGEST_ID:
            raise InputError(f"{path}: {image_id[:LONGEST_ID]!r} is no image id")
    return ids


def require_distinct(ids: Sequence[str], path: Path) -> None:
    """Raises InputError if a list names an image twice, which would be counted twice."""
    seen: set[str] = set()
    for image_id in ids:
        if image_id in seen:
            raise InputError(f"{path} names {image_id} twice")
        seen.add(image_id)


def split_count(name: str) -> tuple[str, int | None]:
    """Splits a list's name from its count: `train:5200` -> ("train", 5200), `train` -> ("train", None)."""
    head, colon, tail = name.rpartition(":")
    if not colon or not tail.isdecimal() or Path(name).is_file():
        return name, None
    if not tail.strip("0"):
        raise InputError(f"{name} draws no image")
    return head, int(tail[-LONGEST_ID:])


def draw(ids: Sequence[str], count: int | None) -> list[str]:
    """A reproducible subset: the `count` ids with the smallest SHA-256, in the order of the list.

    It depends only on the ids, so it is the same in every run, on every machine, with every library version.

    Args:
        ids: the list.
        count: size of the subset; None, or a larger number than there are ids: all.
    """
    if count is None or count >= len(ids):
        return list(ids)
    chosen = set(sorted(ids, key=lambda i: hashlib.sha256(i.encode()).digest())[:count])
    return [i for i in ids if i in chosen]
