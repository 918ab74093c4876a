"""Polygons of masks, for tools of annotators: COCO's annotations and labelme's documents. No file is read or written here.

An object is a connected region of one class (pixels that touch at a corner are connected). Neither format has a place for a
hole in a polygon, so the ring of a region with holes is cut open: from each hole, a horizontal line leads to the ring on its
left, and the polygon follows the line to the hole, goes around it, and comes back on the same line. The line has no width,
so the hole stays empty and the polygon remains a single one.

The two formats place corners differently. COCO's rasteriser takes the pixels whose centre is inside, so its polygons follow
the edges of pixels, 0 .. W. labelme's takes all pixels that the outline touches too, so its polygons connect the pixels at
the border of a region, 0 .. W - 1. Each is right in its own tool; without simplification both give the mask back exactly.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np

from ..options.tools.polygons import TOLERANCE
from ..scoring.metrics import ignored_in

SMALLEST_TOLERANCE = 0.1
"""Below it an outline is left as it is."""
LABELME_VERSION = "5.0.0"
"""The version of labelme whose format the documents have; later ones read it too."""


class Region(NamedTuple):
    """A connected region of one class."""

    label: int  # value in the mask
    polygon: np.ndarray  # (n, 2) float64, x and y of its corners in pixels, n >= 3


def coco_annotations(
    mask: np.ndarray,
    image_id: int,
    first_id: int = 1,
    tolerance: float = TOLERANCE,
    scores: Mapping[int, float] | None = None,
) -> list[dict[str, Any]]:
    """COCO's annotations of a mask: one for each connected region, with one polygon.

    Args:
        mask: (H, W) of `label_type`, 0 background, 1 .. C. Background and ignored pixels are in no polygon.
        image_id: id of the image in COCO's file.
        first_id: id of the first annotation; the others follow.
        tolerance: see `regions`.
        scores: `score` of the annotations by value in the mask; values without one have no `score`.

    Returns:
        Annotations as COCO's file has them, `category_id` being the value in the mask. `area` and `bbox` are the polygon's.
    """
    annotations = []
    for number, region in enumerate(regions(mask, tolerance, corners=True), first_id):
        low, high = region.polygon.min(0), region.polygon.max(0)
        annotation = {
            "id": number,
            "image_id": image_id,
            "category_id": region.label,
            "segmentation": [region.polygon.ravel().round(2).tolist()],
            "area": round(area(region.polygon), 2),
            "bbox": np.concatenate((low, high - low)).round(2).tolist(),
            "iscrowd": 0,
        }
        if scores and region.label in scores:
            annotation["score"] = round(float(scores[region.label]), 4)
        annotations.append(annotation)
    return annotations


def coco_categories(classes: Sequence[str]) -> list[dict[str, Any]]:
    """COCO's categories: ids are the values in masks, from 1."""
    return [{"id": c, "name": name, "supercategory": ""} for c, name in enumerate(classes, 1)]


def labelme_document(
    mask: np.ndarray, classes: Sequence[str], image_path: str, tolerance: float = TOLERANCE
) -> dict[str, Any]:
    """labelme's document of an image, with one polygon for each connected region, the largest first.

    Args:
        mask: see `coco_annotations`.
        classes: C names.
        image_path: path of the image, relative to the document's folder.
        tolerance: see `regions`.

    Returns:
        The content of labelme's JSON file. `imageData` is null: labelme reads the image itself.
    """
    shapes = [
        {
            "label": classes[region.label - 1],
            "points": region.polygon.round(2).tolist(),
            "group_id": None,
            "description": "",
            "shape_type": "polygon",
            "flags": {},
        }
        for region in regions(mask, tolerance, corners=False)
    ]
    shapes.sort(key=lambda shape: -area(np.array(shape["points"])))  # labelme draws later ones on top
    return {
        "version": LABELME_VERSION,
        "flags": {},
        "shapes": shapes,
        "imagePath": image_path,
        "imageData": None,
        "imageHeight": mask.shape[0],
        "imageWidth": mask.shape[1],
    }


def regions(mask: np.ndarray, tolerance: float, corners: bool) -> Iterator[Region]:
    """The connected regions of all classes, by ascending class.

    Args:
        mask: see `coco_annotations`.
        tolerance: how far, in pixels, a polygon may be from the outline (`cv2.approxPolyDP`); 0: the outline itself. It is
            reduced for regions that would have no area left, so that none is lost.
        corners: whether polygons follow the edges of pixels (COCO), or connect the pixels at the border (labelme).
    """
    for label in np.unique(mask).tolist():
        if label in (0, ignored_in(mask)):
            continue
        pixels = (mask == label).astype(np.uint8)
        left, top, width, height = cv2.boundingRect(pixels)
        for outer, holes in outlines(pixels[top : top + height, left : left + width], corners):
            polygon = cut_open(simplified(outer, tolerance), [simplified(hole, tolerance) for hole in holes])
            yield Region(label, polygon + np.array((left, top)))


def outlines(pixels: np.ndarray, corners: bool) -> Iterator[tuple[np.ndarray, list[np.ndarray]]]:
    """The outer ring of each connected region, and the rings of its holes, which turn the other way.

    Args:
        pixels: (H, W) uint8, 0 or 1.
        corners: see `regions`.

    Yields:
        Rings (n, 2) float32, x and y in pixels.
    """
    if corners:
        # A grid with the centres of pixels at odd places and their corners at even ones: each pixel grows to its corners.
        grid = np.zeros((2 * pixels.shape[0] + 1, 2 * pixels.shape[1] + 1), np.uint8)
        grid[1::2, 1::2] = pixels
        pixels = np.asarray(cv2.dilate(grid, np.ones((3, 3), np.uint8)))
    rings, tree = cv2.findContours(pixels, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    points = [ring[:, 0].astype(np.float32) / (2 if corners else 1) for ring in rings]
    for i, (_, _, child, parent) in enumerate(tree[0].tolist()):
        if parent >= 0:
            continue
        holes = []
        while child >= 0:
            holes.append(points[child])
            child = tree[0][child][0]
        yield points[i], holes


def simplified(ring: np.ndarray, tolerance: float) -> np.ndarray:
    """A ring (n, 2) with fewer corners, (m, 2) float64 with m >= 3; for thin or small ones the tolerance is reduced."""
    simple = ring
    while tolerance > SMALLEST_TOLERANCE:
        simple = cv2.approxPolyDP(ring, tolerance, closed=True)[:, 0]
        if len(simple) >= 3:
            break
        simple, tolerance = ring, tolerance / 2
    missing = max(0, 3 - len(simple))  # a single pixel, or a line of pixels
    return np.concatenate((simple, simple[-1:].repeat(missing, 0))).astype(np.float64)


def cut_open(ring: np.ndarray, holes: Sequence[np.ndarray]) -> np.ndarray:
    """One ring around a region that leaves out its holes; all are (n, 2)."""
    # From left to right: whatever a line to the left meets is part of the ring already.
    for hole in sorted(holes, key=lambda hole: hole[:, 0].min()):
        start = int(hole[:, 0].argmin())
        around = np.concatenate((hole[start:], hole[: start + 1]))  # back to its start
        before, place = landing(ring, around[0])
        ring = np.concatenate((ring[: before + 1], place[None], around, place[None], ring[before + 1 :]))
    return ring


def landing(ring: np.ndarray, point: np.ndarray) -> tuple[int, np.ndarray]:
    """Where a horizontal line to the left of a point first meets a ring: index of the corner before that place, and place.

    If simplification has moved the ring to the other side of the point, the place is the nearest corner.
    """
    ends = np.roll(ring, -1, 0)
    rise = ends[:, 1] - ring[:, 1]
    share = np.divide(point[1] - ring[:, 1], rise, out=np.full(len(ring), -1.0), where=rise != 0)
    x = ring[:, 0] + share * (ends[:, 0] - ring[:, 0])
    x[(share < 0) | (share > 1) | (x > point[0])] = -np.inf
    if np.isfinite(x).any():
        before = int(x.argmax())
        return before, np.array((x[before], point[1]))
    before = int(((ring - point) ** 2).sum(1).argmin())
    return before, ring[before]


def area(polygon: np.ndarray) -> float:
    """Area of a polygon (n, 2) in square pixels; holes that it goes around are left out."""
    x, y = (polygon - polygon[0]).T
    return abs(float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1)))) / 2
