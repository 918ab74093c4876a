"""Pictures of single images: the image, its true mask, the CAM of every class, and the mask made of them."""

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image

from ..cams.pictures import cam_overlay
from ..scoring.metrics import IGNORE, label_map
from .markup import Element, tag
from .scoring import ImageScores, Reader, mean_iou, sweep_image

SIDES = (288, 224, 160, 112)
"""Longer sides of a picture in pixels, tried in this order."""
BYTES = 2_000_000
"""What all pictures together may have; a third is added where they are spelt as text."""

COLORS = ("#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7")
"""Told apart with any colour vision (Okabe and Ito, Color Universal Design); an image with more classes starts over."""
BACKGROUND = "#6b6b6b"
IGNORED = (235, 235, 235)

GROUPS = {
    "worst": ("Worst", "what goes wrong when it goes wrong most"),
    "median": ("Typical", "half of the images score better, half worse"),
    "best": ("Best", "what the method can do"),
    "some": ("Some of the images", "spread evenly over their list"),
}

ImageOpener = Callable[[str], np.ndarray]
"""From an image id to (H, W, 3) uint8 RGB of the size of its mask."""


class Drawing(NamedTuple):
    """What there is to see of one image."""

    panels: list[tuple[str, bytes]]  # caption and JPEG of each picture
    labels: list[tuple[str, str, float]]  # name, colour, and IoU in percent of background and classes; NaN: not in the truth
    miou: float | None  # in percent; None where there is no truth


Artist = Callable[[str, int], Drawing]
"""From an image id and the longer side of its pictures in pixels."""


def build_gallery(groups: Mapping[str, Sequence[str]], draw: Artist) -> list[Element]:
    """Groups of images, in pictures as large as `BYTES` admits.

    Args:
        groups: ids of images by a key of `GROUPS`.
        draw: draws one.
    """
    for side in SIDES:
        parts, size = [], 0
        for name, members in groups.items():
            if members:
                heading, meaning = GROUPS[name]
                parts.append(tag("h3", heading, tag("small", f" {meaning}")))
            for image_id in members:
                drawing = draw(image_id, side)
                size += sum(len(data) for _, data in drawing.panels)
                parts.append(sample_figure(image_id, drawing))
        if size <= BYTES:
            break
    return parts


def draw_cams(
    open_image: ImageOpener,
    read_cams: Callable[[str], Mapping[int, np.ndarray]],
    classes: Sequence[str],
    image_id: str,
    side: int,
) -> Drawing:
    """An image and its CAMs, where there is no true mask to compare them with.

    Args:
        open_image, read_cams: what there is of an image.
        classes: names without background.
        image_id, side: see `Artist`.
    """
    image, cams = open_image(image_id), read_cams(image_id)
    image, size = scaled(image, image.shape[:2], side)
    panels = [("image", image)]
    panels += [(f"CAM of {classes[c]}", cam_overlay(image, cv2.resize(cam, size))) for c, cam in cams.items()]
    return Drawing([(caption, jpeg(picture)) for caption, picture in panels], [], None)


def draw_sample(
    open_image: ImageOpener, read: Reader, scores: ImageScores, classes: Sequence[str], image_id: str, side: int
) -> Drawing:
    """An image, its true mask, its CAMs and the mask made of them.

    Args:
        open_image, read: what there is of an image.
        scores: of all images; their best threshold makes the mask.
        classes: names without background.
        image_id, side: see `Artist`.
    """
    cams, mask = read(image_id)
    shown, own = sweep_image(cams, mask)
    own_scores, best = own.scores(), scores.together.best
    iou = np.where(own_scores.pixels > 0, own_scores.iou[best], np.nan)
    colors = {c + 1: COLORS[i % len(COLORS)] for i, c in enumerate(shown)}
    labels = [("background", BACKGROUND, float(iou[0]))]
    labels += [
        (classes[c], colors[c + 1], float(value)) for c, value in zip(shown, iou[1:], strict=True) if c in cams or value >= 0
    ]

    threshold = np.float32(scores.threshold)
    seed = label_map({0: np.full(mask.shape, threshold)} | {c + 1: cam for c, cam in cams.items()})
    image, size = scaled(open_image(image_id), mask.shape, side)
    panels = [("image", image), ("true mask", paint(image, resized(mask, size), colors))]
    for c, cam in cams.items():
        panels.append((f"CAM of {classes[c]}", outlined(image, cv2.resize(cam, size), float(threshold))))
    panels.append(("mask from the CAMs", paint(image, resized(seed, size), colors)))
    return Drawing([(caption, jpeg(picture)) for caption, picture in panels], labels, float(mean_iou(own_scores)[best]))


def scaled(image: np.ndarray, shape: tuple[int, ...], side: int) -> tuple[np.ndarray, tuple[int, int]]:
    """An image (H, W, 3) of a shape (H, W), its longer side as asked for, and its new width and height."""
    factor = side / max(shape)
    height, width = (max(1, round(length * factor)) for length in shape)
    method = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    return cv2.resize(image, (width, height), interpolation=method), (width, height)


def resized(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A mask at (width, height), its labels kept."""
    return cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST)


def paint(image: np.ndarray, mask: np.ndarray, colors: Mapping[int, str]) -> np.ndarray:
    """The classes of a mask in colour on the image in grey."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[:, :, None]
    picture = np.repeat(np.uint8(0.6 * grey), 3, 2)
    for c, color in colors.items():
        rgb = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)])
        picture[mask == c] = (0.3 * grey + 0.7 * rgb)[mask == c]
    picture[mask == IGNORE] = IGNORED
    return picture


def outlined(image: np.ndarray, cam: np.ndarray, threshold: float) -> np.ndarray:
    """A CAM over its image, with a white line in a black one where it crosses the threshold."""
    picture = cam_overlay(image, cam)
    line = cv2.morphologyEx((cam > threshold).astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
    picture[cv2.dilate(line, np.ones((3, 3), np.uint8)) > 0] = 0
    picture[line > 0] = 255
    return picture


def jpeg(picture: np.ndarray) -> bytes:
    """The bytes of (H, W, 3) uint8 as a JPEG that keeps the edges of colours."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "jpeg", quality=80, subsampling=0, optimize=True)
    return file.getvalue()


def sample_figure(image_id: str, drawing: Drawing) -> Element:
    """One image with its pictures, scores and colours; the arrow keys go from one to the next."""
    pictures = [
        tag(
            "figure",
            tag("img", src=f"data:image/jpeg;base64,{base64.b64encode(data).decode()}", alt=f"{caption} of {image_id}"),
            tag("figcaption", caption),
            class_="panel",
        )
        for caption, data in drawing.panels
    ]
    chips = [
        tag("span", tag("i", style=f"background:{color}", aria_hidden="true"), f"{name} {percent(iou)}", class_="chip")
        for name, color, iou in drawing.labels
    ]
    scored = drawing.miou is not None
    caption = tag("figcaption", tag("b", image_id), *([f" mIoU {drawing.miou:.1f} % "] if scored else []), *chips)
    name = f"{image_id}, mIoU {drawing.miou:.1f} percent" if scored else image_id
    return tag(
        "figure", caption, tag("div", *pictures, class_="panels"), class_="sample", tabindex=0, role="group", aria_label=name
    )


def percent(iou: float) -> str:
    """An IoU as a caption says it."""
    return "is not in the true mask" if np.isnan(iou) else f"{iou:.0f} %"
