"""COCO's instance annotations through pycocotools: which classes an image shows, and its mask."""

import contextlib
import io
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pycocotools import mask as rle
from pycocotools.coco import COCO

from utils.errors import InputError
from utils.metrics import IGNORE

from .labels import cache_path, read_cache, write_cache


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
            if missing := {"file_name", "height", "width"} - image.keys():
                raise ValueError(f"image {image['id']} has no {min(missing)}")
        for annotation in coco.dataset["annotations"]:
            if annotation["category_id"] not in coco.cats or annotation["image_id"] not in coco.imgs:
                raise ValueError(f"annotation {annotation['id']} refers to a category or image that is not in the file")
    # A damaged file can raise nearly anything.
    except Exception as error:
        raise InputError(f"{path} is no file of COCO instances: {type(error).__name__}: {error}") from error
    if names != tuple(classes):
        odd = next((name for name in names if name not in classes), names[:3])
        raise InputError(
            f"{path} has {len(names)} categories and the data set {len(classes)} classes; they differ in {odd!r}"
        )
    return coco


def class_indices(coco: COCO) -> dict[int, int]:
    """From category id, 1 .. 90 with gaps, to class index, 0 .. 79."""
    return {category: c for c, category in enumerate(sorted(coco.cats))}


def annotated_classes(path: Path, classes: Sequence[str]) -> dict[int, list[int]]:
    """Indices of the classes in every image of `instances_<split>.json`, by image number; kept in a cache.

    Crowd regions count: what they name is in the image.
    """
    stat = path.stat()
    cache = cache_path(path)
    # One line of the table stands for the file itself, so that a changed file is read again.
    state = ([stat.st_size, stat.st_mtime_ns], list(classes))
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
    """One label per pixel from instances that may overlap.

    Larger objects are drawn first, so smaller ones lie on top of them; crowd regions lie under all of them. Size is the
    number of pixels; of equals, the one annotated later is on top.

    Args:
        annotations: of one image, as COCO's file has them.
        index: from category id to class index.
        height, width: of the image in pixels.
        crowds: what crowd regions become: "ignore" is 255, "class" their class, "background" nothing.

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
    """Polygons or a run-length encoding as (height, width) bool."""
    if isinstance(segmentation, list):
        encoded = rle.merge(rle.frPyObjects(segmentation, height, width))
    elif isinstance(segmentation["counts"], list):
        encoded = rle.frPyObjects(segmentation, height, width)
    else:
        encoded = segmentation
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        pixels = rle.decode(encoded).astype(bool)
    if pixels.shape != (height, width):
        raise ValueError(f"a region is {pixels.shape}, its image {(height, width)}")
    return pixels
