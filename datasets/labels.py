"""Image-level labels from VOC's XML annotations, read once and cached."""

import contextlib
import hashlib
import json
import os
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from utils.errors import InputError
from utils.files import whole_file

from .voc import VocLayout


def cache_folder() -> Path:
    """Where tables read from data sets are kept: `$XDG_CACHE_HOME/dig`, by default `~/.cache/dig`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dig"


def image_labels(layout: VocLayout, ids: Sequence[str]) -> np.ndarray:
    """Which classes are in which image.

    An annotation is parsed only when its size or time differs from what the cache remembers.

    Args:
        layout: the data set.
        ids: n images.

    Returns:
        (n, C) bool.

    Raises:
        InputError: an annotation is missing, broken, or names an object that is no class of the data set.
    """
    folder = (layout.root / "Annotations").resolve()
    cache_path = cache_folder() / f"labels-{hashlib.sha256(str(folder).encode()).hexdigest()[:16]}.json"
    cache = read_cache(cache_path)
    index = {name: c for c, name in enumerate(layout.classes)}
    labels = np.zeros((len(ids), len(index)), bool)
    changed = False
    for row, image_id in zip(labels, ids, strict=True):
        path = layout.annotation_path(image_id)
        try:
            stat = path.stat()
        except OSError as error:
            raise InputError(f"{path} is missing: it holds the labels of {image_id}") from error
        state, names = cache.get(image_id, (None, None))
        if state != [stat.st_size, stat.st_mtime_ns]:
            names = object_names(path)
            cache[image_id] = ([stat.st_size, stat.st_mtime_ns], names)
            changed = True
        for name in names:
            if name not in index:
                raise InputError(f"{path} names {name!r}, which is none of the {len(index)} classes")
            row[index[name]] = True
    if changed:
        write_cache(cache_path, cache)
    return labels


def object_names(path: Path) -> list[str]:
    """Names of the objects in an annotation, each once, "difficult" ones too."""
    try:
        text = path.read_bytes()
        # A zero byte means UTF-16 or worse, in which declarations would go unseen.
        if b"<!DOCTYPE" in text or b"<!ENTITY" in text or b"\0" in text:
            raise InputError(f"{path} declares a document type or entities; annotations have none")
        root = ElementTree.fromstring(text)
    except (OSError, ElementTree.ParseError, LookupError, ValueError) as error:
        raise InputError(f"{path} is no XML: {error}") from error
    return sorted({(obj.findtext("name") or "").strip() for obj in root.iter("object")})


def read_cache(path: Path) -> dict:
    """The cached table; empty where there is none or it is damaged."""
    try:
        content = json.loads(path.read_text())
        return {
            image_id: ([int(size), int(time)], [str(name) for name in names])
            for image_id, ((size, time), names) in content.items()
        }
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def write_cache(path: Path, cache: dict) -> None:
    """Keeps the table for later runs; a folder that cannot be written to only costs them time."""
    with contextlib.suppress(OSError), whole_file(path) as file:
        file.write(json.dumps(cache).encode())
