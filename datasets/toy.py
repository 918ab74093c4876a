"""Draws a synthetic data set in VOC's layout: python -m datasets.toy --data-path data/toy

There are eight classes, each a shape with a texture. Every shape and every texture occurs in two classes, and the hues of
neighbouring classes overlap, so that no single cue separates all classes. As in photographs that are hard for class
activation maps, each class often occurs with a certain other class and background; objects differ in scale, cover each
other, and are surrounded by clutter that resembles their parts. The same seed gives the same images.
"""

from utils.command_line import check_flags
from utils.options.data import ToyOptions

if __name__ == "__main__":  # before the imports that take seconds
    check_flags(ToyOptions)

import colorsys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from utils.cams.masks import write_mask
from utils.errors import run_script
from utils.files import whole_file
from utils.log import progress
from utils.options.flags import parse_options
from utils.records import claim
from utils.scoring.metrics import IGNORE

Field = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""A function of coordinates x and y, about -1 to 1 over an object; y points down."""

SHAPES: dict[str, Field] = {  # positive inside
    "disc": lambda x, y: 0.95 - np.hypot(x, y),
    "square": lambda x, y: 0.8 - np.maximum(np.abs(x), np.abs(y)),
    "triangle": lambda x, y: np.minimum(0.6 - y, 0.5 * y + 0.55 - 0.866 * np.abs(x)),
    "cross": lambda x, y: np.minimum(0.95 - np.maximum(np.abs(x), np.abs(y)), 0.4 - np.minimum(np.abs(x), np.abs(y))),
}
TEXTURES: dict[str, Field] = {  # light where positive
    "striped": lambda x, y: np.sin(12 * x),
    "dotted": lambda x, y: np.cos(11 * x) + np.cos(11 * y) - 0.6,
    "checked": lambda x, y: 2 * np.sin(8 * x) * np.sin(8 * y),
    "ringed": lambda x, y: np.sin(13 * np.hypot(x, y)),
}
CLASSES = (
    ("striped", "disc"),
    ("dotted", "disc"),
    ("dotted", "square"),
    ("checked", "square"),
    ("checked", "triangle"),
    ("ringed", "triangle"),
    ("ringed", "cross"),
    ("striped", "cross"),
)
CLASS_NAMES = tuple(f"{texture} {shape}" for texture, shape in CLASSES)
COMPANION = (3, 6, 5, 0, 7, 2, 1, 4)
"""For each class, the class that it often occurs with; the two share neither shape nor texture."""

SCENES = 4
HUE_SPREAD = 0.05
"""Standard deviation of the hue within a class; the mean hues are 1/8 apart."""


def main(args: list[str]) -> None:
    options = parse_options(ToyOptions, args, "python -m datasets.toy", __doc__)
    root = Path(options.data_path)
    claim(root, {"seed": options.seed, "size": options.size}, "*", "Move it away first, or name another --data-path")

    lists = {"train": options.train_images, "val": options.val_images}
    for split, (name, count) in enumerate(lists.items()):
        ids = [f"{name}_{i:06d}" for i in range(count)]
        for i, image_id in enumerate(progress(ids, f"drawing {name}")):
            if not (root / "Annotations" / f"{image_id}.xml").exists():  # the last file of an image to be written
                write_sample(root, image_id, *draw_sample((options.seed, split, i), options.size))
        write_text(root / "ImageSets" / "Segmentation" / f"{name}.txt", "".join(f"{i}\n" for i in ids))
    write_text(root / "classes.txt", "".join(f"{name}\n" for name in CLASS_NAMES))
    print(f"{root}: {' and '.join(f'{count} images of {name}' for name, count in lists.items())}")


def draw_sample(seed: tuple[int, ...], size: int) -> tuple[np.ndarray, np.ndarray, list[tuple[int, np.ndarray]]]:
    """Draws one image.

    Args:
        seed: seed of the image.
        size: longer side in pixels.

    Returns:
        The image (H, W, 3) uint8, its mask (H, W) uint8 with outlines 255, and for each object, from back to front, its
        class and visible pixels (H, W) bool.
    """
    rng = np.random.default_rng(seed)
    height, width = (size, int(size * rng.uniform(0.75, 1)))[:: rng.choice((-1, 1))]
    classes = draw_classes(rng)
    scene = classes[0] % SCENES if rng.random() < 0.6 else int(rng.integers(SCENES))
    image = draw_scene(rng, scene, height, width)
    for _ in range(rng.integers(2, 5)):
        draw_clutter(rng, image)

    objects: list[tuple[int, np.ndarray]] = []
    for c in classes:
        for _ in range(10):  # tries places until no earlier object is covered too much
            radius = size * rng.uniform(0.14, 0.30)
            alpha, colors = draw_object(rng, c, radius, height, width)
            inside = alpha > 0.5
            left = [before & ~inside for _, before in objects]
            enough = inside.sum() >= radius**2 and all(
                now.sum() >= 0.5 * before.sum() for now, (_, before) in zip(left, objects, strict=True)
            )
            if enough:
                objects = [(k, now) for (k, _), now in zip(objects, left, strict=True)] + [(c, inside)]
                image[:] = image + alpha[:, :, None] * (colors - image)
                break

    mask = np.zeros((height, width), np.uint8)
    outlines = np.zeros((height, width), bool)
    for c, seen in objects:
        mask[seen] = c + 1
        outlines |= cv2.morphologyEx(seen.astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((2, 2), np.uint8)) > 0
    mask[outlines] = IGNORE
    image = image * rng.uniform(0.75, 1.1) + rng.normal(0, 0.02, image.shape)
    return (255 * image.clip(0, 1)).astype(np.uint8), mask, objects


def draw_classes(rng: np.random.Generator) -> list[int]:
    """Draws the class of each object in an image, one to four objects."""
    first = int(rng.integers(len(CLASSES)))
    classes = [first]
    if rng.random() < 0.5:
        classes.append(COMPANION[first])
    for _ in range(rng.integers(0, 3)):
        classes.append(first if rng.random() < 0.3 else int(rng.integers(len(CLASSES))))
    return classes


def draw_scene(rng: np.random.Generator, scene: int, height: int, width: int) -> np.ndarray:
    """Draws the background of one of the `SCENES`: (height, width, 3) float32 in [0, 1]."""
    hue, saturation, value = scene / SCENES + rng.normal(0, 0.05), rng.uniform(0.15, 0.45), rng.uniform(0.35, 0.75)
    base = np.array(colorsys.hsv_to_rgb(hue, saturation, value))
    image = np.broadcast_to(base, (height, width, 3)).astype(np.float32)
    for cells, strength in ((4, 0.12), (12, 0.08), (32, 0.08)):
        noise = rng.normal(0, strength, (cells, cells, 3)) * 0.4 + rng.normal(0, strength, (cells, cells, 1))
        image = image + cv2.resize(noise.astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    texture = list(TEXTURES.values())[scene]
    x, y = coordinates(rng, height, width, rng.uniform(0, 1, 2) * (width, height), rng.uniform(0.1, 0.25) * width)
    return (image + 0.05 * np.sign(texture(x, y))[:, :, None]).clip(0, 1)


def draw_clutter(rng: np.random.Generator, image: np.ndarray) -> None:
    """Draws a coloured strip, or a grey shape without texture, into the image."""
    height, width = image.shape[:2]
    center = rng.uniform(0, 1, 2) * (width, height)
    x, y = coordinates(rng, height, width, center, rng.uniform(0.05, 0.2) * max(height, width))
    if rng.random() < 0.5:
        inside = np.minimum(0.25 - abs(x), 1 - abs(y))
        color = np.array(colorsys.hsv_to_rgb(rng.random(), rng.uniform(0.4, 0.9), rng.uniform(0.4, 0.9)))
    else:
        inside = list(SHAPES.values())[rng.integers(len(SHAPES))](x, y)
        color = np.full(3, rng.uniform(0.2, 0.9))
    image[inside > 0] = color


def draw_object(rng: np.random.Generator, c: int, radius: float, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Draws an object of class c at a random place.

    Returns:
        Its opacity (height, width) in [0, 1], and its colours (height, width, 3).
    """
    texture, shape = CLASSES[c]
    center = rng.uniform(0.6 * radius, np.array((width, height)) - 0.6 * radius)
    x, y = coordinates(rng, height, width, center, radius)
    alpha = (SHAPES[shape](x, y) * radius + 0.5).clip(0, 1)
    hue = c / len(CLASSES) + rng.normal(0, HUE_SPREAD)
    saturation, value = rng.uniform(0.5, 0.9), rng.uniform(0.75, 1)
    light, dark = (np.array(colorsys.hsv_to_rgb(hue, saturation, v)) for v in (value, value * rng.uniform(0.35, 0.6)))
    lit = (TEXTURES[texture](x, y) * 2 + 0.5).clip(0, 1)[:, :, None]
    return alpha, dark + lit * (light - dark)


def coordinates(
    rng: np.random.Generator, height: int, width: int, center: np.ndarray, radius: float
) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates x and y of all pixels in an object's frame, (height, width) float32 each, rotated by a random angle."""
    sine, cosine = np.sin(angle := rng.uniform(0, 2 * np.pi)), np.cos(angle)
    x = (np.arange(width, dtype=np.float32)[None] - center[0]) / radius
    y = (np.arange(height, dtype=np.float32)[:, None] - center[1]) / radius
    return cosine * x + sine * y, cosine * y - sine * x


def write_sample(
    root: Path, image_id: str, image: np.ndarray, mask: np.ndarray, objects: list[tuple[int, np.ndarray]]
) -> None:
    """Writes image, mask and annotation of an id."""
    with whole_file(root / "JPEGImages" / f"{image_id}.jpg") as file:
        Image.fromarray(image).save(file, "jpeg", quality=95)
    write_mask(root / "SegmentationClass" / f"{image_id}.png", mask)
    height, width = mask.shape
    lines = [f"<filename>{image_id}.jpg</filename>"]
    lines.append(f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>")
    for c, seen in objects:
        (top, bottom), (left, right) = (np.flatnonzero(seen.any(axis))[[0, -1]] + 1 for axis in (1, 0))
        box = f"<xmin>{left}</xmin><ymin>{top}</ymin><xmax>{right}</xmax><ymax>{bottom}</ymax>"
        lines.append(f"<object><name>{CLASS_NAMES[c]}</name><difficult>0</difficult><bndbox>{box}</bndbox></object>")
    write_text(root / "Annotations" / f"{image_id}.xml", "\n".join(("<annotation>", *lines, "</annotation>\n")))


def write_text(path: Path, text: str) -> None:
    """Writes a text file that appears only when it is complete."""
    with whole_file(path) as file:
        file.write(text.encode())


if __name__ == "__main__":
    run_script(main)
