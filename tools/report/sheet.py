"""The examples of a report as one picture, to look at without a browser."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from utils.errors import InputError
from utils.files import whole_file
from utils.picture_table import Cell, Entry, Group, picture_table

from .gallery import GROUPS, Groups, jpeg
from .views import BACKGROUND, PALETTE, View

SIDES = (200, 160, 128, 96, 64)
"""Longer sides of the pictures in a JPEG, tried in this order."""
PNG_SIDE = 160
JPEG_BYTES = 400_000
JPEG_QUALITY = 88
JPEG_SUFFIXES = (".jpg", ".jpeg")
NOTE = "CAM: red is a high score, blue a low one, the white line the threshold. Scores: means over the classes in the truth."
UNSCORED_NOTE = (
    "CAM: red is a high score, blue a low one, the white line the threshold. There are no true masks to score with."
)


def write_sheet(path: Path, groups: Groups, title: str, mious: Mapping[str, float | None]) -> None:
    """Writes a row for each image: image, true mask if there is one, the CAM of its largest class, its masks.

    Args:
        path: the file: a PNG, or a JPEG of at most `JPEG_BYTES`.
        groups: at least one image.
        title: text above the table.
        mious: mIoU in percent of the masks of all images, by heading.

    Raises:
        InputError: the rows are too many for a JPEG of this size.
    """
    with whole_file(path) as file:
        if path.suffix.lower() not in JPEG_SUFFIXES:
            Image.fromarray(draw_sheet(groups, title, mious, PNG_SIDE)).save(file, "png")
            return
        for side in SIDES:
            data = jpeg(draw_sheet(groups, title, mious, side), JPEG_QUALITY)
            if len(data) <= JPEG_BYTES:
                file.write(data)
                return
        raise InputError(
            f"{path}: {sum(map(len, groups.values()))} rows make a JPEG of {len(data)} bytes: show fewer with --rows"
        )


def draw_sheet(groups: Groups, title: str, mious: Mapping[str, float | None], side: int) -> np.ndarray:
    """The table, (H, W, 3) uint8; see `write_sheet`."""
    views = [view for members in groups.values() for view in members]
    scored = any(view.truth for view in views)
    headings = ["photograph", *(["true mask"] if scored else []), "CAM"]
    for panel in views[0].masks:
        miou = mious.get(panel.heading)
        headings.append(panel.heading if miou is None else f"{panel.heading}\nmIoU {miou:.1f} % of all")
    parts = [Group([row_of(view, scored) for view in members], " · ".join(GROUPS[name])) for name, members in groups.items()]
    return picture_table(parts, side, title, NOTE if scored else UNSCORED_NOTE, headings, legend_of(views))


def row_of(view: View, scored: bool) -> list[Cell]:
    """The pictures of an image in the order of the headings."""
    cells = [Cell(view.image.picture, view.image_id)]
    if scored:
        cells.append(Cell(view.truth.picture, view.truth.caption) if view.truth else Cell())
    if view.cams:
        cam = view.cams[view.largest]
        others = f", 1 of {len(view.cams)} classes" if len(view.cams) > 1 else ""
        cells.append(Cell(cam.picture, f"{cam.caption}{others}"))
    else:
        cells.append(Cell(None, "no class"))
    for panel in view.masks:
        cells.append(Cell(panel.picture, panel.caption if panel.picture is not None else "not there"))
    return cells


def legend_of(views: Sequence[View]) -> list[Entry]:
    """The colours of all classes in the images, in the order of the data set."""
    order = {color: i for i, color in enumerate(PALETTE)}
    colors = {name: color for view in views for name, color in view.colors.items()}
    entries = [Entry(name, color) for name, color in sorted(colors.items(), key=lambda item: order[item[1]])]
    undecided = [Entry("not scored, or undecided", PALETTE[255])] if any(view.undecided for view in views) else []
    return [Entry("background", BACKGROUND), *entries, *undecided]
