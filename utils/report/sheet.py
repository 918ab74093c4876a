"""The examples of a report as one picture, to look at without a browser."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

from ..cams.pictures import save_picture
from .gallery import Artist

SIDE = 160
"""Longer side of a picture in pixels."""
GAP = 6


def write_sheet(path: Path, groups: Mapping[str, Sequence[str]], draw: Artist) -> None:
    """Writes a row of pictures for each of some images.

    Args:
        path: of the PNG.
        groups, draw: see `gallery.build_gallery`.
    """
    rows = []
    for members in groups.values():
        for image_id in members:
            rows.append([captioned(caption, jpeg) for caption, jpeg in draw(image_id, SIDE).panels])
    columns = max(map(len, rows))
    blank = np.full_like(rows[0][0], 255)
    save_picture(np.vstack([np.hstack(row + [blank] * (columns - len(row))) for row in rows]), path)


def captioned(caption: str, jpeg: bytes) -> np.ndarray:
    """A picture on white, its caption below: all have one size."""
    picture = np.asarray(cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR))[:, :, ::-1]
    cell = np.full((SIDE + 2 * GAP + 14, SIDE + 2 * GAP, 3), 255, np.uint8)
    cell[GAP : GAP + picture.shape[0], GAP : GAP + picture.shape[1]] = picture
    place = (GAP, GAP + picture.shape[0] + 13)
    # OpenCV's letters are plain ASCII.
    text = caption.encode("ascii", "replace").decode()
    return cv2.putText(cell, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.38, (0, 0, 0), 1, cv2.LINE_AA)
