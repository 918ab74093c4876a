"""Data sets of any size for `benchmarks.scaling`: hard links to a few photographs, labels as XML, JSON or CSV; or shards."""

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from datasets.shards import Packed, write_shard
from utils.cams.files import write_cam_dict
from utils.cams.masks import write_mask
from utils.scoring.metrics import label_type

DIFFERENT = 16
"""Number of different images; all others are links to them."""
OF_SHARD = 1000
"""Images of a shard."""
SIDE = 64
"""Side of a square image in pixels."""
ANNOTATION = "<annotation><object><name>{}</name></object></annotation>\n"


def class_names(count: int) -> list[str]:
    """Made-up class names."""
    return [f"class {c:03d}" for c in range(count)]


def photograph(index: int, height: int = SIDE, width: int = SIDE) -> np.ndarray:
    """Smooth colours with noise, (height, width, 3) uint8; as a JPEG about as large as a photograph."""
    rng = np.random.default_rng(index)
    coarse = Image.fromarray(rng.integers(0, 256, (6, 6, 3), np.uint8)).resize((width, height), Image.Resampling.BICUBIC)
    return (np.asarray(coarse, np.int16) + rng.normal(0, 6, (height, width, 1))).clip(0, 255).astype(np.uint8)


def linked(sources: Sequence[Path], place: Callable[[int], Path], count: int) -> None:
    """Makes `count` links to the sources in turn; existing links are kept."""
    for i in range(count):
        path = place(i)
        if not path.exists():
            os.link(sources[i % len(sources)], path)


def originals(root: Path) -> list[Path]:
    """The `DIFFERENT` photographs that the others are links to; written if missing."""
    folder = root / "originals"
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{i}.jpg" for i in range(DIFFERENT)]
    for i, path in enumerate(paths):
        if not path.exists():
            Image.fromarray(photograph(i)).save(path, quality=90)
    return paths


def voc(root: Path, count: int, classes: int = 20) -> list[str]:
    """Writes a data set in VOC's layout, with XML labels; returns the ids."""
    ids = [f"{i:07d}" for i in range(count)]
    for name in ("JPEGImages", "Annotations", "ImageSets/Segmentation", "xml"):
        (root / name).mkdir(parents=True, exist_ok=True)
    names = class_names(classes)
    (root / "classes.txt").write_text("".join(f"{name}\n" for name in names))
    linked(originals(root), lambda i: root / "JPEGImages" / f"{ids[i]}.jpg", count)
    texts = [root / "xml" / f"{c}.xml" for c in range(classes)]
    for path, name in zip(texts, names, strict=True):
        path.write_text(ANNOTATION.format(name))
    linked(texts, lambda i: root / "Annotations" / f"{ids[i]}.xml", count)
    write_lists(root / "ImageSets" / "Segmentation", ids)
    return ids


def coco(root: Path, count: int, classes: int = 20) -> list[str]:
    """Writes a data set in COCO's layout, with one JSON file of labels; returns the ids."""
    ids = [f"COCO_train2014_{i:012d}" for i in range(1, count + 1)]
    for name in ("train2014", "annotations", "ImageSets/Segmentation"):
        (root / name).mkdir(parents=True, exist_ok=True)
    names = class_names(classes)
    (root / "classes.txt").write_text("".join(f"{name}\n" for name in names))
    linked(originals(root), lambda i: root / "train2014" / f"{ids[i]}.jpg", count)
    content = {
        "images": [{"id": i + 1, "file_name": f"{name}.jpg", "height": SIDE, "width": SIDE} for i, name in enumerate(ids)],
        "categories": [{"id": c + 1, "name": name} for c, name in enumerate(names)],
        "annotations": [
            {"id": i + 1, "image_id": i + 1, "category_id": i % classes + 1, "bbox": [0, 0, 9, 9], "area": 81, "iscrowd": 0}
            | {"segmentation": [[0, 0, 9, 0, 9, 9]]}
            for i in range(count)
        ],
    }
    (root / "annotations" / "instances_train2014.json").write_text(json.dumps(content))
    write_lists(root / "ImageSets" / "Segmentation", ids)
    return ids


def own(root: Path, count: int, classes: int = 20) -> list[str]:
    """Writes a folder of images with labels.csv; returns the ids."""
    ids = [f"{i:07d}" for i in range(count)]
    for name in ("images", "lists"):
        (root / name).mkdir(parents=True, exist_ok=True)
    names = class_names(classes)
    linked(originals(root.with_name(f"{root.name}_files")), lambda i: root / "images" / f"{ids[i]}.jpg", count)
    rows = (f"{image_id}.jpg,{names[i % classes]}\n" for i, image_id in enumerate(ids))
    (root / "labels.csv").write_text("image,label\n" + "".join(rows))
    write_lists(root / "lists", ids)
    return ids


def shards(root: Path, count: int, classes: int = 20) -> list[str]:
    """Writes a data set of shards with `OF_SHARD` images each; returns the ids."""
    ids = [f"{i:07d}" for i in range(count)]
    names = class_names(classes)
    files = [*originals(root.with_name(f"{root.name}_files"))]
    (root / "lists").mkdir(parents=True, exist_ok=True)
    packed = [Packed(image_id, files[i % DIFFERENT], (names[i % classes],)) for i, image_id in enumerate(ids)]
    for number, start in enumerate(range(0, count, OF_SHARD)):
        if not (path := root / f"{number:06d}.tar").exists():
            write_shard((path, packed[start : start + OF_SHARD]))
    write_lists(root / "lists", ids)
    return ids


LAYOUTS = {"xml": voc, "json": coco, "csv": own, "shards": shards}
"""Functions that write a data set, by the format of its labels."""


def write_lists(folder: Path, ids: Sequence[str]) -> None:
    """Writes the lists `all` and `few`, the latter with 8 images."""
    (folder / "all.txt").write_text("".join(f"{image_id}\n" for image_id in ids))
    (folder / "few.txt").write_text("".join(f"{image_id}\n" for image_id in ids[:8]))


def results(root: Path, ids: Sequence[str], folder: str, classes: int, height: int = SIDE, width: int = SIDE) -> None:
    """Writes CAM dicts `root/folder/<id>.npy` and masks `root/masks/<id>.png`, as links to `DIFFERENT` files."""
    rng = np.random.default_rng(0)
    for name in (folder, "masks", "originals"):
        (root / name).mkdir(parents=True, exist_ok=True)
    dicts = [root / "originals" / f"{i}.npy" for i in range(DIFFERENT)]
    masks = [root / "originals" / f"{i}.png" for i in range(DIFFERENT)]
    for i, (cams, mask) in enumerate(zip(dicts, masks, strict=True)):
        values = Image.fromarray(rng.random((8, 8), np.float32)).resize((width, height), Image.Resampling.BILINEAR)
        cam = np.asarray(values, np.float32)
        write_cam_dict(cams, {i % classes: cam})
        write_mask(mask, np.where(cam > 0.5, i % classes + 1, 0).astype(label_type(classes)))
    linked(dicts, lambda i: root / folder / f"{ids[i]}.npy", len(ids))
    linked(masks, lambda i: root / "masks" / f"{ids[i]}.png", len(ids))
