"""Pictures in a table: headings, captions, a legend of colours, all drawn into one image."""

import contextlib
import functools
import string
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

GAP = 6
INK, SOFT, RULE, PAPER = (29, 34, 39), (91, 100, 109), (220, 223, 226), (255, 255, 255)
SMALLEST_LETTERS, LARGEST_LETTERS = 9, 16
"""Font sizes in pixels; between them, the size grows with the pictures."""

OWN_LETTERS = {*string.printable, "·", "…"}
"""Characters in Pillow's built-in font."""


class Cell(NamedTuple):
    """A cell of a table."""

    picture: np.ndarray | None = None  # (H, W, 3) uint8
    caption: str = ""  # below it; lines may be broken with \n


class Entry(NamedTuple):
    """A line of the legend."""

    name: str
    color: tuple[int, int, int]  # RGB


@dataclass(frozen=True)
class Group:
    """Rows under a common heading."""

    rows: Sequence[Sequence[Cell]]
    heading: str = ""


def picture_table(
    groups: Sequence[Group],
    side: int,
    title: str = "",
    note: str = "",
    headings: Sequence[str] = (),
    legend: Sequence[Entry] = (),
) -> np.ndarray:
    """Draws a table.

    Args:
        groups: at least one row of at least one cell. Rows may differ in length.
        side: longer side in pixels that every picture is resized to.
        title, note: text above the table.
        headings: headings of the columns; lines may be broken with \\n.
        legend: entries below the table.

    Returns:
        (H, W, 3) uint8 on white.
    """
    columns = max(len(headings), *(len(row) for group in groups for row in group.rows))
    width = GAP + columns * (side + GAP)
    parts = [text_line(title, width, round(1.25 * letters(side)))] if title else []
    if note:
        parts.append(text_line(note, width, letters(side), SOFT))
    if any(headings):
        parts.append(picture_row([Cell(None, heading) for heading in headings], side, width, INK))
    for group in groups:
        if group.heading:
            parts.append(text_line(group.heading, width, letters(side), rule=True))
        parts += [picture_row(row, side, width) for row in group.rows]
    if legend:
        parts.append(legend_lines(legend, width, letters(side)))
    return np.vstack(parts)


def letters(side: int) -> int:
    """Font size in pixels for pictures whose longer side is `side`."""
    return min(LARGEST_LETTERS, max(SMALLEST_LETTERS, round(side / 12)))


def font(text: str, size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """The font for a text: Pillow's built-in one, the same on every machine, if it has all characters."""
    return load_font(size, other_scripts=not set(text) <= OWN_LETTERS)


@functools.cache
def load_font(size: int, other_scripts: bool) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's built-in font, or a font of the machine for other scripts, if it has one."""
    if other_scripts:
        with contextlib.suppress(OSError):
            return ImageFont.truetype("DejaVuSans.ttf", size)
    return ImageFont.load_default(size)


def blank(height: int, width: int) -> np.ndarray:
    """A white image, (height, width, 3) uint8."""
    return np.full((height, width, 3), PAPER, np.uint8)


def picture_row(row: Sequence[Cell], side: int, width: int, color: tuple[int, int, int] = SOFT) -> np.ndarray:
    """A row of pictures, each with its caption below it."""
    size = letters(side)
    pictures = [None if cell.picture is None else fitted(cell.picture, side) for cell in row]
    captions = [cell.caption.split("\n") if cell.caption else [] for cell in row]
    tops = [GAP + (0 if picture is None else len(picture)) for picture in pictures]
    height = max(top + len(lines) * line_height(size) for top, lines in zip(tops, captions, strict=True))
    image = Image.fromarray(blank(height, width))
    draw = ImageDraw.Draw(image)
    for column, (picture, top, lines) in enumerate(zip(pictures, tops, captions, strict=True)):
        left = GAP + column * (side + GAP)
        if picture is not None:
            image.paste(Image.fromarray(picture), (left, GAP))
        for i, line in enumerate(lines):
            text = shortened(line, side, size)
            draw.text((left, top + i * line_height(size)), text, fill=color, font=font(text, size))
    return np.asarray(image)


def fitted(picture: np.ndarray, side: int) -> np.ndarray:
    """A picture (H, W, 3) whose longer side is `side`."""
    if max(picture.shape[:2]) == side:
        return picture
    factor = side / max(picture.shape[:2])
    size = (max(1, round(picture.shape[1] * factor)), max(1, round(picture.shape[0] * factor)))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_NEAREST))


def text_line(text: str, width: int, size: int, color: tuple[int, int, int] = INK, rule: bool = False) -> np.ndarray:
    """One line of text; with `rule`, below a thin line."""
    image = Image.fromarray(blank(line_height(size) + GAP, width))
    draw = ImageDraw.Draw(image)
    if rule:
        draw.line((GAP, GAP // 2, width - GAP, GAP // 2), fill=RULE)
    draw.text((GAP, GAP), shortened(text, width - 2 * GAP, size), fill=color, font=font(text, size))
    return np.asarray(image)


def legend_lines(legend: Sequence[Entry], width: int, size: int) -> np.ndarray:
    """Squares of colour with their names, on as many lines as needed."""
    places, left, line = [], GAP, 0
    names = [shortened(entry.name, width - 3 * GAP - size, size) for entry in legend]
    for name in names:
        needed = size + GAP + text_width(name, size) + 2 * GAP
        if left > GAP and left + needed > width:
            left, line = GAP, line + 1
        places.append((left, GAP + line * line_height(size)))
        left += needed
    image = Image.fromarray(blank(2 * GAP + (line + 1) * line_height(size), width))
    draw = ImageDraw.Draw(image)
    for (x, y), name, entry in zip(places, names, legend, strict=True):
        draw.rectangle((x, y + 2, x + size - 1, y + 1 + size), fill=entry.color, outline=SOFT)
        draw.text((x + size + GAP, y), name, fill=INK, font=font(name, size))
    return np.asarray(image)


def line_height(size: int) -> int:
    """Distance between two lines of text in pixels."""
    return round(1.35 * size)


def text_width(text: str, size: int) -> int:
    """Width of a text in pixels."""
    return round(font(text, size).getlength(text))


def shortened(text: str, width: int, size: int) -> str:
    """A text that fits into `width` pixels, its end cut off if needed."""
    if text_width(text, size) <= width:
        return text
    while text and text_width(text + "…", size) > width:
        text = text[:-1]
    return text + "…"
