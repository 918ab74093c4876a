"""Tiny data sets in the layouts of VOC, COCO and users' own images, written in milliseconds."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from datasets.labels.classes import COCO_CLASSES

OBJECTS = (("cat",), ("dog", "sofa"), ("person",), ("person", "horse", "person"), ("tvmonitor",), ("aeroplane", "train"))
"""Objects of each image, in the order of its annotation; further images repeat the list."""

CLASS_INDEX = {"aeroplane": 1, "cat": 8, "dog": 12, "horse": 13, "person": 15, "sofa": 18, "train": 19, "tvmonitor": 20}
"""Value of each class in a mask."""


def make_toy_voc(root: Path, num_images: int = 6) -> Path:
    """Writes images, annotations, masks and the lists `train` (two thirds) and `val` (the rest).

    Args:
        root: folder that becomes the data set; it may exist.
        num_images: how many images, `2007_000000` onwards.

    Returns:
        `root`. The same call always writes the same data set.
    """
    rng = np.random.default_rng(0)
    for folder in ("JPEGImages", "Annotations", "SegmentationClass", "ImageSets/Segmentation"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    ids = [f"2007_{i:06d}" for i in range(num_images)]
    for i, image_id in enumerate(ids):
        objects = OBJECTS[i % len(OBJECTS)]
        width, height = int(rng.integers(40, 61)), int(rng.integers(30, 51))
        mask = toy_mask(width, height, objects)
        image = rng.integers(0, 60, (height, width, 3)) + np.minimum(mask, 21)[:, :, None] * np.array([9, 5, 2])
        Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(root / "JPEGImages" / f"{image_id}.jpg", quality=95)
        save_mask(mask, root / "SegmentationClass" / f"{image_id}.png")
        write_annotation(root / "Annotations" / f"{image_id}.xml", objects, width, height)
    count = max(1, 2 * num_images // 3)
    for name, members in (("train", ids[:count]), ("val", ids[count:])):
        (root / "ImageSets" / "Segmentation" / f"{name}.txt").write_text("".join(f"{i}\n" for i in members))
    return root


def toy_mask(width: int, height: int, objects: tuple[str, ...]) -> np.ndarray:
    """(height, width) uint8: one vertical bar per object, with an ignored outline, on background."""
    mask = np.zeros((height, width), np.uint8)
    step = width // len(objects)
    for k, name in enumerate(objects):
        left, right = k * step + 2, (k + 1) * step - 2
        mask[4:-4, left:right] = 255
        mask[5:-5, left + 1 : right - 1] = CLASS_INDEX[name]
    return mask


def save_mask(mask: np.ndarray, path: Path) -> None:
    """Writes a palette PNG, as VOC's masks are."""
    image = Image.fromarray(mask)
    image.putpalette([value for index in range(256) for value in (index, 255 - index, index * 7 % 256)])
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


def write_annotation(path: Path, objects: tuple[str, ...], width: int = 50, height: int = 40) -> None:
    """Writes an annotation with one box per object."""
    boxes = "".join(
        f"<object><name>{name}</name><difficult>0</difficult>"
        f"<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>{width}</xmax><ymax>{height}</ymax></bndbox></object>"
        for name in objects
    )
    size = f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>"
    path.write_text(f"<annotation><filename>{path.stem}.jpg</filename>{size}{boxes}</annotation>\n")


def make_toy_folder(root: Path, masks: bool = False) -> Path:
    """Writes six images into `images/` and their labels, with a header, into `labels.csv`.

    Args:
        root: folder that becomes the data set; it may exist.
        masks: write `masks/` too, by the sorted order of all classes.

    Returns:
        `root`. The same call always writes the same data set.
    """
    rng = np.random.default_rng(0)
    classes = sorted({name for objects in OBJECTS for name in objects})
    value = np.arange(256, dtype=np.uint8)
    for name, before in CLASS_INDEX.items():
        value[before] = classes.index(name) + 1
    lines = ["image,labels"]
    (root / "images").mkdir(parents=True, exist_ok=True)
    for i, objects in enumerate(OBJECTS):
        width, height = int(rng.integers(40, 61)), int(rng.integers(30, 51))
        pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / "images" / f"{i}.jpg", quality=95)
        lines.append(",".join((f"{i}.jpg", *sorted(set(objects)))))
        if masks:
            save_mask(value[toy_mask(width, height, objects)], root / "masks" / f"{i}.png")
    write_lines(root / "labels.csv", *lines)
    return root


COCO_IDS = tuple(i for i in range(1, 91) if i not in (12, 26, 29, 30, 45, 66, 68, 69, 71, 83))
"""The category ids of COCO's 80 classes, in their order."""


class CocoObject(NamedTuple):
    """An instance, or a crowd region, that fills a box."""

    name: str
    box: tuple[int, int, int, int]  # left, top, right, bottom in pixels, the latter two exclusive
    crowd: bool = False


COCO_OBJECTS = {
    "train2014": {
        9: (CocoObject("cat", (10, 8, 20, 16)), CocoObject("dog", (4, 4, 30, 26))),  # the smaller one is named first
        25: (CocoObject("car", (12, 4, 36, 28)), CocoObject("person", (4, 4, 28, 20), crowd=True)),
        30: (CocoObject("couch", (4, 4, 16, 24)), CocoObject("tv", (16, 4, 30, 24)), CocoObject("chair", (4, 4, 30, 24))),
        34: (),
        36: (CocoObject("person", (2, 2, 14, 28)), CocoObject("tie", (8, 10, 8, 10)), CocoObject("person", (18, 4, 34, 28))),
        49: (CocoObject("horse", (5, 5, 25, 25)), CocoObject("toothbrush", (0, 0, 3, 30))),
    },
    "val2014": {
        42: (CocoObject("dog", (6, 6, 30, 24)),),
        73: (CocoObject("zebra", (4, 4, 24, 14)), CocoObject("hair drier", (14, 4, 34, 14))),  # of one size
        74: (CocoObject("person", (0, 0, 34, 30), crowd=True), CocoObject("person", (10, 10, 20, 20))),
        133: (),
    },
}
"""Objects by image number. In 25 the person is only a crowd region behind a larger car, in 30 the chair is hidden behind
smaller objects, in 36 the tie has no pixel."""


def make_toy_coco(root: Path, masks: bool = False) -> Path:
    """Writes images and instances of train2014 (6 images) and val2014 (4 images); each has one image without instances.

    Args:
        root: folder that becomes the data set; it may exist.
        masks: write SegmentationClass too, drawn from the boxes, crowds 255.

    Returns:
        `root`. The same call always writes the same data set.
    """
    rng = np.random.default_rng(0)
    for split, images in COCO_OBJECTS.items():
        (root / split).mkdir(parents=True, exist_ok=True)
        content = {"images": [], "annotations": [], "categories": []}
        for category, name in zip(COCO_IDS, COCO_CLASSES, strict=True):
            content["categories"].append({"id": category, "name": name})
        for number, objects in images.items():
            width, height = int(rng.integers(40, 61)), int(rng.integers(30, 51))
            stem = coco_stem(split, number)
            size = {"height": height, "width": width}
            content["images"].append({"id": number, "file_name": f"{stem}.jpg", **size})
            for thing in objects:
                content["annotations"].append(coco_annotation(len(content["annotations"]) + 1, number, thing, height, width))
            mask = coco_mask(objects, height, width)
            pixels = rng.integers(0, 60, (height, width, 3)) + np.minimum(mask, 80)[:, :, None] * np.array([2, 1, 1])
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(root / split / f"{stem}.jpg", quality=95)
            if masks:
                save_mask(mask, root / "SegmentationClass" / split / f"{stem}.png")
        write_json(root / "annotations" / f"instances_{split}.json", content)
    return root


def coco_stem(split: str, number: int) -> str:
    """The name of an image without its suffix."""
    return f"COCO_{split}_{number:012d}"


def coco_annotation(annotation: int, image: int, thing: CocoObject, height: int, width: int) -> dict:
    """An instance as a polygon, a crowd region as run lengths down the columns."""
    left, top, right, bottom = thing.box
    if thing.crowd:
        pixels = np.zeros((height, width), bool)
        pixels[top:bottom, left:right] = True
        changes = np.flatnonzero(np.diff(pixels.ravel(order="F"), prepend=False))
        segmentation = {"counts": np.diff(changes, prepend=0, append=height * width).tolist(), "size": [height, width]}
    else:
        segmentation = [[left, top, right, top, right, bottom, left, bottom]]
    category = COCO_IDS[COCO_CLASSES.index(thing.name)]
    return {
        "id": annotation,
        "image_id": image,
        "category_id": category,
        "iscrowd": int(thing.crowd),
        "segmentation": segmentation,
        "area": (right - left) * (bottom - top),
        "bbox": [left, top, right - left, bottom - top],
    }


def coco_mask(objects: Sequence[CocoObject], height: int, width: int) -> np.ndarray:
    """Draws crowds as 255, then objects, the largest first, and with equal size the later on top: (height, width) uint8."""
    mask = np.zeros((height, width), np.uint8)
    areas = [(t.box[2] - t.box[0]) * (t.box[3] - t.box[1]) for t in objects]
    for k in sorted(range(len(objects)), key=lambda k: (not objects[k].crowd, -areas[k])):
        left, top, right, bottom = objects[k].box
        mask[top:bottom, left:right] = 255 if objects[k].crowd else COCO_CLASSES.index(objects[k].name) + 1
    return mask


def write_json(path: Path, content: object) -> None:
    """Writes a JSON file; creates its folder if missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def write_lines(path: Path, *lines: str) -> Path:
    """Writes lines to a file, whose folder is created if missing; returns `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))
    return path
