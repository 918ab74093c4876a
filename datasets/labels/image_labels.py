"""Image-level labels from XML annotations, and the cache of what was read from a data set's files."""

import contextlib
import csv
import hashlib
import json
import os
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from utils.errors import InputError, did_you_mean
from utils.files import state_of, whole_file
from utils.machine.parallel import in_threads

from .spelling import normal_name

PathT = TypeVar("PathT", str, Path)


def cache_folder() -> Path:
    """The folder of caches: `$XDG_CACHE_HOME/dig`, by default `~/.cache/dig`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dig"


def cache_path(source: Path, kind: str = "labels") -> Path:
    """The cache file of a folder or file.

    Args:
        source: the folder or file.
        kind: what is cached, such as labels or masks.
    """
    return cache_folder() / f"{kind}-{hashlib.sha256(str(source.resolve()).encode()).hexdigest()[:16]}.json"


def xml_labels(folder: Path, ids: Sequence[str], classes: Sequence[str]) -> np.ndarray:
    """Image-level labels from VOC's annotations.

    Args:
        folder: folder of the annotations, `<id>.xml`.
        ids: n images.
        classes: C names.

    Returns:
        (n, C) bool.

    Raises:
        InputError: an annotation is missing or damaged, or names an object that is no class.
    """
    index = {name: c for c, name in enumerate(classes)}
    labels = np.zeros((len(ids), len(index)), bool)
    paths = {image_id: f"{folder}/{image_id}.xml" for image_id in ids}
    for row, (image_id, names) in zip(labels, read_once(folder, paths, object_names).items(), strict=True):
        for name in names:
            if name not in index:
                raise InputError(
                    f"{paths[image_id]} names {name!r}, which is none of the {len(index)} classes{did_you_mean(name, index)}"
                )
            row[index[name]] = True
    return labels


def read_once(source: Path, paths: Mapping[str, PathT], read: Callable[[PathT], list]) -> dict[str, list]:
    """Results of `read` for all files, cached on disk; a file is read again only if its size or time has changed.

    Args:
        source: the folder of the files, which the cache belongs to.
        paths: the file of each image.
        read: from a file to a list of names or numbers.

    Returns:
        The lists by image, in the order of `paths`.

    Raises:
        InputError: a file is missing, or `read` raises it.
    """
    table = cache_path(source)
    cache, states = read_cache(table), {}
    for image_id, path in paths.items():
        states[image_id] = state_of(path)
        if states[image_id] is None:
            raise InputError(f"{path} is missing: it holds the labels of {image_id}")
    changed = [image_id for image_id, state in states.items() if cache.get(image_id, (None,))[0] != state]
    found = in_threads(read, [paths[image_id] for image_id in changed], "labels")
    for image_id, values in zip(changed, found, strict=True):
        cache[image_id] = (states[image_id], values)
    if changed:
        write_cache(table, cache)
    return {image_id: cache[image_id][1] for image_id in paths}


def object_names(path: str) -> list[str]:
    """Names of the objects in an annotation, including "difficult" ones, without duplicates."""
    try:
        text = Path(path).read_bytes()
        # A zero byte means UTF-16 or UTF-32, in which this search would miss declarations.
        if b"<!DOCTYPE" in text or b"<!ENTITY" in text or b"\0" in text:
            raise InputError(f"{path} declares a document type or entities; annotations have none")
        root = ElementTree.fromstring(text)
    except (OSError, ElementTree.ParseError, LookupError, ValueError) as error:
        raise InputError(f"{path} is no XML: {error}") from error
    return sorted({normal_name(obj.findtext("name") or "") for obj in root.iter("object")})


def table_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Rows of a table of labels, `image,label,label,…`, with their line numbers.

    Raises:
        InputError: the file cannot be read or is no CSV.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.reader(file)
            for row in rows:
                yield rows.line_num, row
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f"{path} is no table of labels: {error}") from error


def read_cache(path: Path) -> dict:
    """The content of a cache file; empty if the file is missing or damaged."""
    try:
        content = json.loads(path.read_text())
        return {
            image_id: ([int(size), int(time)], [value if isinstance(value, int) else str(value) for value in values])
            for image_id, ((size, time), values) in content.items()
        }
    except (OSError, ValueError, TypeError, AttributeError, OverflowError, RecursionError):
        return {}


def write_cache(path: Path, cache: dict) -> None:
    """Writes a cache file; failing to write it is no error, because the cache only saves time."""
    with contextlib.suppress(InputError), whole_file(path) as file:
        file.write(json.dumps(cache).encode())
