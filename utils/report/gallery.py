"""Pictures of single images: the image, its true mask, the CAM of every class, and the mask made of them."""

import base64
import io
from collections.abc import Callable, Mapping, Sequence

import cv2
import numpy as np
from PIL import Image

from ..cams.pictures import cam_overlay
from ..scoring.metrics import IGNORE, label_map
from .markup import Element, tag
from .scoring import ImageScores, Reader, examples, sweep_image

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
}

ImageOpener = Callable[[str], np.ndarray]
"""From an image id to (H, W, 3) uint8 RGB of the size of its mask."""


def build_gallery(
    ids: Sequence[str], scores: ImageScores, read: Reader, open_image: ImageOpener, classes: Sequence[str], count: int
) -> list[Element]:
    """The worst, median and best images, in pictures as large as `BYTES` admits.

    Args:
        ids, scores: images and their scores.
        read, open_image: what there is of an image.
        classes: names without background.
        count: images of a group.
    """
    groups = {name: members for name, members in examples(scores.each, count).items() if members}
    for side in SIDES:
        parts, size = [], 0
        for name, members in groups.items():
            heading, meaning = GROUPS[name]
            parts.append(tag("h3", heading, tag("small", f" {meaning}")))
            for i in members:
                panels, labels = draw_sample(open_image(ids[i]), *read(ids[i]), scores, classes, side)
                size += sum(len(data) for _, data in panels)
                parts.append(sample_figure(ids[i], float(scores.each[i]), panels, labels))
        if size <= BYTES:
            break
    return parts


def draw_sample(
    image: np.ndarray,
    cams: Mapping[int, np.ndarray],
    mask: np.ndarray,
    scores: ImageScores,
    classes: Sequence[str],
    side: int,
) -> tuple[list[tuple[str, bytes]], list[tuple[str, str, float]]]:
    """Everything to see of one image.

    Args:
        image: (H, W, 3) uint8.
        cams, mask: see `Reader`.
        scores: of all images; their best threshold makes the mask.
        classes: names without background.
        side: longer side of the pictures in pixels.

    Returns:
        (caption, JPEG) of the pictures, and (name, colour, IoU in percent) of background and classes; NaN where the truth
        has none.
    """
    shown, own = sweep_image(cams, mask)
    iou = np.where(own.scores().pixels > 0, own.scores().iou[scores.together.best], np.nan)
    colors = {c + 1: COLORS[i % len(COLORS)] for i, c in enumerate(shown)}
    labels = [("background", BACKGROUND, float(iou[0]))]
    labels += [
        (classes[c], colors[c + 1], float(value)) for c, value in zip(shown, iou[1:], strict=True) if c in cams or value >= 0
    ]

    threshold = np.float32(scores.threshold)
    seed = label_map({0: np.full(mask.shape, threshold)} | {c + 1: cam for c, cam in cams.items()})
    factor = side / max(mask.shape)
    size = tuple(max(1, round(length * factor)) for length in mask.shape[::-1])
    image = cv2.resize(image, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC)
    panels = [("image", image), ("true mask", paint(image, resized(mask, size), colors))]
    for c, cam in cams.items():
        panels.append((f"CAM of {classes[c]}", outlined(image, cv2.resize(cam, size), float(threshold))))
    panels.append(("mask from the CAMs", paint(image, resized(seed, size), colors)))
    return [(caption, jpeg(picture)) for caption, picture in panels], labels


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


def sample_figure(
    image_id: str, miou: float, panels: Sequence[tuple[str, bytes]], labels: Sequence[tuple[str, str, float]]
) -> Element:
    """One image with its pictures, scores and colours; the arrow keys go from one to the next."""
    pictures = [
        tag(
            "figure",
            tag("img", src=f"data:image/jpeg;base64,{base64.b64encode(data).decode()}", alt=f"{caption} of {image_id}"),
            tag("figcaption", caption),
            class_="panel",
        )
        for caption, data in panels
    ]
    chips = [
        tag("span", tag("i", style=f"background:{color}", aria_hidden="true"), f"{name} {percent(iou)}", class_="chip")
        for name, color, iou in labels
    ]
    caption = tag("figcaption", tag("b", image_id), f" mIoU {miou:.1f} % ", *chips)
    name = f"{image_id}, mIoU {miou:.1f} percent"
    return tag(
        "figure", caption, tag("div", *pictures, class_="panels"), class_="sample", tabindex=0, role="group", aria_label=name
    )


def percent(iou: float) -> str:
    """An IoU as a caption says it."""
    return "is not in the true mask" if np.isnan(iou) else f"{iou:.0f} %"
