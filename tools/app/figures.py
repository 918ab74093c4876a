"""Figures of the page, as HTML that contains the pictures: nothing is kept in files."""

from collections.abc import Sequence
from typing import NamedTuple
from xml.etree import ElementTree

import cv2
import numpy as np

from tools.report.gallery import data_address
from tools.report.markup import Element, tag
from utils.cams.masks import voc_palette

JPEG_QUALITY = 88
OPACITY = 0.62
"""Opacity of a mask's colours over its photograph."""


class Part(NamedTuple):
    """A class in a mask."""

    name: str
    color: tuple[int, int, int]  # RGB
    share: float  # of the pixels, in [0, 1]


def parts_of(mask: np.ndarray, classes: Sequence[str]) -> list[Part]:
    """The classes in a mask (H, W) uint8 without the background, the largest first."""
    labels, counts = np.unique(mask, return_counts=True)
    colours = voc_palette().tolist()
    parts = [
        Part(classes[label - 1], tuple(colours[label & 255]), count / mask.size)
        for label, count in zip(labels.tolist(), counts.tolist(), strict=True)
        if label
    ]
    return sorted(parts, key=lambda part: -part.share)


def outlined_mask(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """A mask in VOC's colours over its photograph, each region with a white edge.

    Args:
        image: (H, W, 3) uint8.
        mask: (H, W) uint8, 0 background.

    Returns:
        (H, W, 3) uint8.
    """
    colored = ((1 - OPACITY) * image + OPACITY * voc_palette()[mask & 255]).astype(np.uint8)
    picture = np.where(mask[:, :, None] > 0, colored, image)
    picture[cv2.morphologyEx(mask, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0] = 255
    return picture


def figure(heading: str, picture: np.ndarray, alt: str, parts: Sequence[Part] = (), note: str = "") -> str:
    """HTML of a picture with its heading, and a legend or a note below.

    Args:
        heading: text above the picture.
        picture: (H, W, 3) uint8.
        alt: description for screen readers.
        parts: classes of the legend.
        note: text below the picture.
    """
    legend = [tag("ul", *map(legend_line, parts), class_="legend")] if parts else []
    notes = [tag("p", note, class_="note")] if note else []
    height, width = picture.shape[:2]
    image = tag("img", src=jpeg_uri(picture), alt=alt, width=width, height=height)
    return html(tag("figure", tag("h3", heading), image, tag("figcaption", *legend, *notes), class_="shown"))


def grid(shown: Sequence[str]) -> str:
    """HTML of figures beside each other."""
    return f'<div class="grid">{"".join(shown)}</div>'


def legend_line(part: Part) -> Element:
    """A line of the legend: a colour, a name and a share."""
    red, green, blue = part.color
    swatch = tag("i", style=f"background: rgb({red}, {green}, {blue})")
    return tag("li", swatch, tag("b", part.name), f" {100 * part.share:.0f} %")


def line(text: str, kind: str = "") -> str:
    """HTML of one line of text; `kind` is its class."""
    return html(tag("p", text, class_=f"line {kind}".strip()))


def heading(title: str, subtitle: str) -> str:
    """HTML of the page's name and a line below it."""
    return html(tag("div", tag("h1", title), tag("p", subtitle)))


def html(element: Element) -> str:
    """An element as text."""
    return ElementTree.tostring(element, encoding="unicode", method="html")


def jpeg_uri(picture: np.ndarray) -> str:
    """(H, W, 3) uint8 as the data URI of a JPEG."""
    _, data = cv2.imencode(".jpg", picture[:, :, ::-1], (cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY))
    return data_address(data.tobytes(), "jpeg")
