"""A data set in VOC layout that takes milliseconds to write."""

from pathlib import Path

import numpy as np
from PIL import Image

OBJECTS = (("cat",), ("dog", "sofa"), ("person",), ("person", "horse", "person"), ("tvmonitor",), ("aeroplane", "train"))
"""Objects of the images, in the order of the annotations; further images start over."""

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
