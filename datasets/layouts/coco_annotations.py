"""COCO's instance annotations, read with pycocotools: image-level labels and masks."""

import contextlib
import io
import re
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pycocotools import mask as rle
from pycocotools.coco import COCO

from utils.errors import InputError
from utils.scoring.metrics import IGNORE

from ..labels.image_labels import cache_path, read_cache, write_cache

NUMBER = re.compile(r"[0-9]+\Z")
"""The number that a file's name ends with."""


def load_annotations(path: Path, classes: Sequence[str]) -> COCO:
    """The annotations of a split.

    Raises:
        InputError: the file is damaged, or its categories are not the classes of the data set.
    """
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            coco = COCO(str(path))
        names = tuple(coco.cats[category]["name"] for category in sorted(coco.cats))
        for image in coco.imgs.values():
            require(image, {"id": int, "file_name": str, "height": int, "width": int}, "image")
            if "\0" in image["file_name"] or not is_size(image["height"], image["width"]):
                raise ValueError(
                    f"image {image['id']} cannot be {image['file_name']!r}, {image['width']} x {image['height']} pixels"
                )
            number = NUMBER.search(Path(image["file_name"]).stem)
            if number and int(number[0]) != image["id"]:  # labels are found by the number in a file's name
                raise ValueError(f"image {image['id']} is called {image['file_name']!r}: its id must be that number")
        for annotation in coco.dataset["annotations"]:
            require(annotation, {"id": int, "category_id": int, "image_id": int}, "annotation")
            if annotation["category_id"] not in coco.cats or annotation["image_id"] not in coco.imgs:
                raise ValueError(f"annotation {annotation['id']} refers to a category or image that is not in the file")
    # A damaged file can raise nearly anything.
    except Exception as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path} is no file of COCO instances: {type(error).__name__}: {reason}") from error
    if names != tuple(classes):
        odd = next((name for name in names if name not in classes), names[:3])
        raise InputError(
            f"{path} has {len(names)} categories and the data set {len(classes)} classes; they differ in {odd!r}"
        )
    return coco


def require(entry: dict, kinds: dict[str, type], what: str) -> None:
    """Raises ValueError if an entry lacks a value or has one of another type."""
    for name, kind in kinds.items():
        if name not in entry:
            raise ValueError(f"{what} {entry.get('id')} has no {name}")
        if not isinstance(entry[name], kind) or isinstance(entry[name], bool):
            raise ValueError(f"{what} {entry.get('id')} has the {name} {entry[name]!r}")


def is_size(height: int, width: int) -> bool:
    """Whether an image can have this size in pixels."""
    return 0 < min(height, width) <= max(height, width) < 1 << 16 and height * width < 1 << 28


def class_indices(coco: COCO) -> dict[int, int]:
    """Class index, 0 .. 79, by category id, 1 .. 90 with gaps."""
    return {category: c for c, category in enumerate(sorted(coco.cats))}


def annotated_classes(path: Path, classes: Sequence[str]) -> dict[int, list[int]]:
    """Class indices of all images of `instances_<split>.json`, by image number; cached on disk.

    Crowd regions count: their class is in the image.
    """
    stat = path.stat()
    cache = cache_path(path)
    # The entry "" of the cache describes the file, so that a changed file is read again.
    state = ([stat.st_size, stat.st_mtime_ns], [*classes, "numbers of names are ids"])
    table = read_cache(cache)
    if table.pop("", None) != state:
        coco = load_annotations(path, classes)
        index = class_indices(coco)
        table = {
            str(image): ([0, 0], sorted({index[annotation["category_id"]] for annotation in coco.imgToAnns[image]}))
            for image in coco.imgs
        }
        write_cache(cache, {"": state, **table})
    return {int(image): present for image, (_, present) in table.items()}


def draw_mask(
    annotations: Sequence[dict], index: dict[int, int], height: int, width: int, crowds: str = "ignore"
) -> np.ndarray:
    """Draws the mask of an image from its instances, which may overlap.

    Crowd regions are drawn first, then objects by decreasing number of pixels, so that smaller objects cover larger ones;
    with equal size, by ascending annotation id.

    Args:
        annotations: annotations of one image, as in COCO's file.
        index: class index by category id.
        height, width: of the image in pixels.
        crowds: value of crowd regions: "ignore": 255, "class": their class, "background": not drawn.

    Returns:
        (height, width) uint8: 0 background, class index + 1, 255 ignored.
    """
    layers = []
    for annotation in annotations:
        crowd = bool(annotation.get("iscrowd", 0))
        if crowd and crowds == "background":
            continue
        pixels = region(annotation["segmentation"], height, width)
        value = IGNORE if crowd and crowds == "ignore" else index[annotation["category_id"]] + 1
        layers.append((not crowd, -int(pixels.sum()), annotation["id"], value, pixels))
    mask = np.zeros((height, width), np.uint8)
    for _, _, _, value, pixels in sorted(layers, key=lambda layer: layer[:3]):
        mask[pixels] = value
    return mask


def region(segmentation: list | dict, height: int, width: int) -> np.ndarray:
    """Decodes polygons or a run-length encoding: (height, width) bool.

    Raises:
        ValueError: it is invalid for an image of this size.
    """
    if not isinstance(segmentation, list):
        if list(segmentation["size"]) != [height, width]:
            raise ValueError(f"a region is {tuple(segmentation['size'])}, its image {(height, width)}")
        return paint_runs(segmentation["counts"], height, width)
    # With corners far outside or not finite, pycocotools would write out of bounds or never return.
    far = 2 * max(height, width)
    if not all(-far <= value <= far for polygon in segmentation for value in polygon):
        raise ValueError("a polygon has corners far outside the image")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return rle.decode(rle.merge(rle.frPyObjects(segmentation, height, width))).astype(bool)


def paint_runs(counts: list[int] | str | bytes, height: int, width: int) -> np.ndarray:
    """Decodes column-major run lengths, numbers or text: (height, width) bool. pycocotools would accept a wrong sum."""
    runs = np.asarray(counts if isinstance(counts, list) else run_lengths(counts))
    if runs.ndim != 1 or runs.dtype.kind != "i" or runs.min() < 0 or runs.max() > height * width:
        raise ValueError("a region has invalid run lengths")
    if runs.sum() != height * width:
        raise ValueError(f"a region has run lengths for {runs.sum()} pixels, its image has {height * width}")
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape((height, width), order="F")


def run_lengths(text: str | bytes) -> list[int]:
    """Run lengths from COCO's text: five bits per byte, lowest first; from the fourth on, as the change from two before."""
    counts: list[int] = []
    value = shift = 0
    for byte in text.encode() if isinstance(text, str) else text:
        bits = byte - 48
        if not 0 <= bits < 64 or shift > 60:
            raise ValueError("a region is no text of run lengths")
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            value -= (bits >> 4 & 1) << shift
            counts.append(value + (counts[-2] if len(counts) > 2 else 0))
            value = shift = 0
    return counts
