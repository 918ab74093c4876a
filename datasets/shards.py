"""Packs a data set's images and labels into tar shards: python -m datasets.shards --data-path X --out Y

For collections on a network file system: ten thousand images become one file, from which training reads any of them in one
operation. The layout is that of `datasets.layouts.shards`; the package webdataset reads it too.
"""

from utils.command_line import check_flags
from utils.options.data import ShardOptions

if __name__ == "__main__":  # before the imports that take seconds
    check_flags(ShardOptions)

import hashlib
import io
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from utils.errors import InputError, run_script
from utils.files import state_of, whole_file
from utils.machine.locks import writing
from utils.machine.parallel import in_parallel
from utils.options.flags import parse_options
from utils.records import claim, place
from utils.tar_members import readable

from .layouts.base import Layout, open_layout

TOGETHER = 16
"""Masks copied by a process at a time."""


class Packed(NamedTuple):
    """An image and its labels, to be packed."""

    image_id: str
    path: Path
    labels: tuple[str, ...]


def main(args: list[str]) -> None:
    # Options
    options = parse_options(ShardOptions, args, "python -m datasets.shards", __doc__)
    layout, out = open_layout(Path(options.data_path)), Path(options.out)
    lists = {name: layout.read_list(name) for name in options.lists}
    require_packable(lists)
    packs = {name: packed_of(layout, ids) for name, ids in lists.items()}
    record = {"data": place(layout.root, out), "lists": list(options.lists), "images": options.images}
    record["labels, lists and files"] = content_of(layout, packs)
    with writing(out):
        claim(out, record, "*", "Move it away first, or name another folder with --out")
        write(packs, layout, out, options)


def write(packs: dict[str, list[Packed]], layout: Layout, out: Path, options: ShardOptions) -> None:
    """Writes what is missing of shards, masks and `classes.txt`."""
    # Shards
    for name, packed in packs.items():
        parts = [packed[start : start + options.images] for start in range(0, len(packed), options.images)]
        tasks = [(out / f"{name}-{number:06d}.tar", part) for number, part in enumerate(parts)]
        missing = [task for task in tasks if not task[0].exists()]
        for _ in in_parallel(write_shard, missing, options.num_workers, name):
            pass
        print(
            f"{name}: {len(packed)} images, {len(missing)} shards written to {out}, {len(tasks) - len(missing)} were there"
        )

    # Masks and classes
    ids = [each.image_id for packed in packs.values() for each in packed]
    masks = [layout.mask_path(image_id) for image_id in ids]
    copies = [
        (mask, target)
        for image_id, mask in zip(ids, masks, strict=True)
        if mask.exists() and not (target := out / "SegmentationClass" / f"{image_id}.png").exists()
    ]
    for _ in in_parallel(copy_mask, copies, options.num_workers, "masks", TOGETHER):
        pass
    with whole_file(out / "classes.txt") as file:
        file.write("".join(f"{name}\n" for name in layout.classes).encode())
    print(f"{out}: {len(copies)} masks copied; train with --data-path {out}")


def packed_of(layout: Layout, ids: Sequence[str]) -> list[Packed]:
    """Images of a list with their labels."""
    return [
        Packed(image_id, layout.image_path(image_id), tuple(layout.classes[c] for c in row.nonzero()[0].tolist()))
        for image_id, row in zip(ids, layout.labels(ids), strict=True)
    ]


def content_of(layout: Layout, packs: dict[str, list[Packed]]) -> str:
    """A digest of all that is packed: with other labels, lists or files, shards that are there are out of date."""
    digest = hashlib.sha256(json.dumps(layout.classes).encode())
    for name, packed in packs.items():
        for each in packed:
            sizes = [(state_of(path) or [0])[0] for path in (each.path, layout.mask_path(each.image_id))]
            digest.update(json.dumps([name, each.image_id, each.labels, sizes]).encode())
    return digest.hexdigest()[:16]


def require_packable(lists: dict[str, list[str]]) -> None:
    """Checks names of lists and ids.

    Raises:
        InputError: an id has a dot, an image is in two lists, or a list is a file.
    """
    if odd := next((name for name in lists if not name.replace("_", "").isalnum()), None):
        raise InputError(f"--lists {odd} is no name for shards: name lists of the data set, of letters and digits")
    seen: dict[str, str] = {}
    for name, ids in lists.items():
        for image_id in ids:
            if "." in image_id:
                raise InputError(f"{image_id} has a dot, and a name in a shard ends at its first dot: rename the image")
            if image_id in seen:
                raise InputError(f"{image_id} is in both {seen[image_id]} and {name}: a shard's images are in one list")
            seen[image_id] = name


def write_shard(task: tuple[Path, Sequence[Packed]]) -> None:
    """Writes one shard; the same images give the same bytes.

    Raises:
        InputError: an image cannot be read.
    """
    path, packed = task
    with whole_file(path) as file, tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for image_id, image, labels in packed:
            content = json.dumps({"labels": list(labels)}, ensure_ascii=False).encode()
            for suffix, data in ((image.suffix.lower(), bytes_of(image)), (".json", content)):
                entry = tarfile.TarInfo(f"{image_id}{suffix}")
                entry.size = len(data)
                tar.addfile(entry, io.BytesIO(data))


def bytes_of(path: Path) -> bytes:
    """The bytes of a file, also of one in a shard.

    Raises:
        InputError: it cannot be read.
    """
    try:
        source = readable(path)
        return source.read_bytes() if isinstance(source, Path) else source.read()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error


def copy_mask(task: tuple[Path, Path]) -> None:
    """Copies a mask."""
    source, target = task
    with whole_file(target) as file:
        file.write(bytes_of(source))


if __name__ == "__main__":
    run_script(main)
