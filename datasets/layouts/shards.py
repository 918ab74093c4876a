"""The layout of large collections: images and labels in shards, which are tar archives (https://github.com/webdataset).

A shard is named `000012.tar` or `train-000012.tar`, with five or more digits; before them stands the name of its images'
list. A sample is all files of one name up to its first dot: one image, and its labels, either `{"labels": ["dog", …]}` as
`NAME.json`, or the number of its class in `classes.txt`, from 0, as `NAME.cls`. Other files are not read. True masks, needed
only for scoring, and lists are ordinary files in `SegmentationClass/` and `lists/`.

An image's id is its name in the shard, with `__` for each slash. Images are read by their place in the shard, so their order
and augmentation depend on (seed, epoch, sample) as everywhere, not on shards.
"""

import functools
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from utils.errors import InputError, did_you_mean
from utils.folders import names_in
from utils.images import is_packed_image, require_samples
from utils.tar_members import SHARD, Member, is_shard, member_path, members

from ..labels.classes import class_names, require_class_names
from ..labels.image_labels import read_once
from ..labels.spelling import normal_name, require_one_spelling, why_no_class
from ..lists import LONGEST_ID, find_own_list, read_lines, require_distinct
from .base import Layout
from .folder_labels import holds_images, id_of, visible_folders

LARGEST_LABEL = 1 << 20
"""In bytes."""


class Sample(NamedTuple):
    """An image in a shard."""

    shard: str
    image: Member
    labels: str | int  # JSON list of names; or a number, from 0; an empty text: none


@dataclass(frozen=True)
class ShardLayout(Layout):
    """A folder of shards.

    Args:
        root: the folder.

    Raises:
        InputError: there are images outside of the shards and of `SegmentationClass`.
    """

    description = "of shards NAME-000000.tar, with an image and its labels for each sample (docs/own_data.md)"

    @classmethod
    def mark(cls, root: Path) -> str:
        """The first shard."""
        return next(iter(shards_in(root)), "")

    def __post_init__(self) -> None:
        for folder in (self.root, *visible_folders(self.root)):
            if folder.name != "SegmentationClass" and holds_images(folder):
                raise InputError(f"{folder} holds images beside {self.mark(self.root)}: move away what does not count")

    def __reduce__(self) -> tuple[Callable[[Path], "ShardLayout"], tuple[Path]]:
        # Pickled by its path: each worker process reads the index once instead of receiving it with every task.
        return reopened, (self.root,)

    @functools.cached_property
    def samples(self) -> dict[str, Sample]:
        """All images by id, in the order of the shards; the index is cached, and a shard is read again if it has changed.

        Raises:
            InputError: a shard is damaged, or an image is in two places.
        """
        paths = {name: self.root / name for name in shards_in(self.root)}
        samples: dict[str, Sample] = {}
        for shard, cells in read_once(self.root, paths, read_shard).items():
            for at in range(0, len(cells), 5):
                image_id, name, offset, size, labels = cells[at : at + 5]
                if image_id in samples:
                    raise InputError(f"{self.root} holds {image_id} twice: in {samples[image_id].shard} and {shard}")
                samples[image_id] = Sample(shard, Member(name, offset, size), labels)
        if not samples:
            raise InputError(f"{self.root} holds shards without images")
        return samples

    @functools.cached_property
    def classes(self) -> tuple[str, ...]:
        """Class names without background: of `classes.txt`, else all labels that occur, sorted."""
        if (self.root / "classes.txt").exists():
            return class_names(self.root)
        numbered = next((sample for sample in self.samples.values() if isinstance(sample.labels, int)), None)
        if numbered is not None:
            raise InputError(
                f"{self.root / numbered.shard} has numbers of classes: classes.txt beside it must name the classes"
            )
        names = {
            name for text in {str(sample.labels) for sample in self.samples.values()} if text for name in json.loads(text)
        }
        found = tuple(sorted(names))
        require_class_names(found, self.root)
        require_one_spelling((name, str(self.root)) for name in found)
        return found

    def sample(self, image_id: str) -> Sample:
        """The sample of an id.

        Raises:
            InputError: the data set has no such image.
        """
        if image_id not in self.samples:
            raise InputError(f"{self.root} has no image {image_id!r} in its shards")
        return self.samples[image_id]

    def image_path(self, image_id: str) -> Path:
        """The image file of an id, see `utils.tar_members`.

        Raises:
            InputError: the data set has no such image.
        """
        sample = self.sample(image_id)
        return member_path(self.root / sample.shard, sample.image)

    def labels(self, ids: Sequence[str]) -> np.ndarray:
        """Image-level labels of n images: (n, C) bool.

        Raises:
            InputError: an image does not exist, has no file of labels, or a label that is no class.
        """
        index = {name: c for c, name in enumerate(self.classes)}
        labels = np.zeros((len(ids), len(index)), bool)
        for row, image_id in zip(labels, ids, strict=True):
            sample = self.sample(image_id)
            place = f"{self.root / sample.shard}: {image_id}"
            if sample.labels == "":
                raise InputError(f"{place} has no labels: neither {image_id}.json nor {image_id}.cls is there")
            row[class_numbers(sample.labels, index, place)] = True
        return labels

    def list_path(self, name: str) -> Path:
        """The file of a list, whether it exists or not."""
        return find_own_list(self.root, name)

    def listed_ids(self, path: Path) -> list[str]:
        """Ids of a list file, which may give ids, the images' paths in the shards, or lines of VOC's lists."""
        lines = [line.strip() for line in read_lines(path) if line.strip()]
        ids = []
        for line in lines:
            spellings = (line, id_of(line), Path(line.split()[0]).stem)
            image_id = next((name for name in spellings if name in self.samples), None)
            if image_id is None:
                raise InputError(f"{path} names {line[:LONGEST_ID]!r}, which is in no shard of {self.root}")
            ids.append(image_id)
        if not ids:
            raise InputError(f"{path} names no image")
        require_distinct(ids, path)
        return ids

    def unlisted_ids(self, name: str) -> list[str]:
        """Ids of the shards of that name; of `all`: all images; of `train`, if no shard has a list's name: all but `val`."""
        prefixes = {shard: list_of(shard) for shard in shards_in(self.root)}
        if name in prefixes.values():
            return [image_id for image_id, sample in self.samples.items() if prefixes[sample.shard] == name]
        if name == "all":
            return list(self.samples)
        if name != "train" or any(prefixes.values()):
            others = sorted({"all", *filter(None, prefixes.values())})
            raise InputError(
                f"{self.list_path(name)} is missing, and no shard is named {name}-000000.tar: name another list, "
                f"such as {others[-1]}{self.meant(name, others)}"
            )
        val = self.list_path("val")
        held_out = set(self.listed_ids(val)) if val.is_file() else set()
        return [image_id for image_id in self.samples if image_id not in held_out]

    def training_ids(self, train_list: str = "") -> tuple[list[str], str]:
        """Ids to train on, and a description of where they come from."""
        ids, source = super().training_ids(train_list)
        return ids, source if Path(source).is_file() else f"the shards in {self.root}"


@functools.lru_cache(maxsize=1)
def reopened(root: Path) -> ShardLayout:
    """The data set in a worker process, cached so that its index is read once for all tasks."""
    return ShardLayout(root)


def shards_in(root: Path) -> list[str]:
    """Names of the shards in a folder, sorted."""
    return sorted(filter(is_shard, names_in(root))) if root.is_dir() else []


def list_of(shard: str) -> str:
    """Name of the list that a shard's images belong to; empty if it has none."""
    found = SHARD.fullmatch(shard)
    return (found and found[1]) or ""


def read_shard(path: Path) -> list[str | int]:
    """The index of a shard: five entries for each image, namely its id, the image's name, offset and size, and its labels.

    Raises:
        InputError: the shard is damaged, or a sample has two images, two files of labels, or labels without an image.
    """
    images: dict[str, Member] = {}
    labels: dict[str, Member] = {}
    names = []
    for member in members(path):
        folder, name = PurePosixPath(member.name).parent, PurePosixPath(member.name).name
        stem, _, suffix = name.partition(".")
        if not stem:
            continue  # hidden
        kind = images if is_packed_image(name) else labels if suffix in ("json", "cls") else None
        key = str(folder / stem).removeprefix("./")
        names.append(member.name)
        if kind is None:
            continue
        if key in kind:
            raise InputError(f"{path} holds both {kind[key].name} and {member.name} for one sample")
        kind[key] = member
    if lost := next((key for key in labels if key not in images), None):
        raise InputError(f"{path} holds {labels[lost].name} without an image")
    require_samples(names, path)
    cells: list[str | int] = []
    with path.open("rb") as file:
        for key, image in images.items():
            image_id = key.strip("/").replace("/", "__")
            if not image_id.strip(".") or "\\" in image_id or len(image_id) > LONGEST_ID:
                raise InputError(f"{path}: {image_id[:LONGEST_ID]!r} is no image id")
            held = read_labels(file, labels[key], f"{path}: {labels[key].name}") if key in labels else ""
            cells += [image_id, image.name, image.offset, image.size, held]
    return cells


def read_labels(file: BinaryIO, member: Member, place: str) -> str | int:
    """Labels of a sample, as `Sample` has them.

    Args:
        file: the open shard.
        member: the file of labels in it.
        place: for messages.

    Raises:
        InputError: they are damaged.
    """
    if member.size > LARGEST_LABEL:
        raise InputError(f"{place} is too large for labels: {member.size} bytes")
    file.seek(member.offset)
    text = file.read(member.size)
    if member.name.endswith(".cls"):
        if not re.fullmatch(rb"\s*[0-9]{1,6}\s*", text):
            raise InputError(f"{place} is no number of a class, such as 3")
        return int(text)
    try:
        content: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{place} is no JSON: {error}") from error
    names = content.get("labels") if isinstance(content, dict) else None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InputError(f'{place} must hold {{"labels": ["dog", …]}}')
    names = sorted({normal_name(name) for name in names})
    if reason := next((reason for name in names if (reason := why_no_class(name))), ""):
        raise InputError(f"{place}: {reason}")
    return json.dumps(names, ensure_ascii=False)


def class_numbers(labels: str | int, index: dict[str, int], place: str) -> list[int]:
    """Indices of the classes in an image.

    Raises:
        InputError: one of them is no class.
    """
    if isinstance(labels, int):
        if labels >= len(index):
            raise InputError(f"{place} has class {labels}, but classes.txt names {len(index)}, from 0 on")
        return [labels]
    names = json.loads(labels)
    for name in names:
        if name not in index:
            raise InputError(f"{place} has the label {name!r}, none of the {len(index)} classes{did_you_mean(name, index)}")
    return [index[name] for name in names]
