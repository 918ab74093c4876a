"""The examples of a report as one picture, to look at without a browser."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from ..cams.pictures import save_picture
from .gallery import ImageOpener, draw_sample
from .scoring import ImageScores, Reader, examples

SIDE = 160
"""Longer side of a picture in pixels."""
GAP = 6


def write_sheet(
    path: Path,
    ids: Sequence[str],
    scores: ImageScores,
    read: Reader,
    open_image: ImageOpener,
    classes: Sequence[str],
    count: int,
) -> None:
    """Writes a row for each of the worst, median and best images: image, true mask, a CAM for every class, mask.

    Args:
        path: of the PNG.
        ids, scores: images and their scores.
        read, open_image: what there is of an image.
        classes: names without background.
        count: images of a group.
    """
    rows = []
    for members in examples(scores.each, count).values():
        for i in members:
            panels, _ = draw_sample(open_image(ids[i]), *read(ids[i]), scores, classes, SIDE)
            rows.append([captioned(caption, jpeg) for caption, jpeg in panels])
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
