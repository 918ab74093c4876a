"""The view of an image: pictures of it, of its CAMs and of its masks, with their scores."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from utils.cams.masks import voc_palette
from utils.cams.pictures import cam_overlay
from utils.scoring.metrics import Confusion, ignored_in, label_map

SIDE = 288
"""Longer side of the pictures in pixels; pages and sheets with less room shrink them."""
PALETTE = [(int(red), int(green), int(blue)) for red, green, blue in voc_palette()]
BACKGROUND = (60, 60, 60)
"""Colour of the background in legends; pictures of masks show the background as the image in grey."""

Color = tuple[int, int, int]


class Panel(NamedTuple):
    """One picture."""

    heading: str  # what it shows
    caption: str  # its score or its class; may be empty
    picture: np.ndarray | None  # (H, W, 3) uint8; None if it is missing


class Label(NamedTuple):
    """A class in an image."""

    name: str
    color: Color
    iou: float | None  # of the mask from the CAMs in percent; NaN if not in the true mask; None without a true mask


@dataclass(frozen=True)
class View:
    """All pictures of an image."""

    image_id: str
    miou: float | None  # of the mask from its CAMs in percent; None without a true mask
    image: Panel
    truth: Panel | None
    cams: Sequence[Panel]  # one for each class
    largest: int  # index in `cams` of the class that covers most of the image
    masks: Sequence[Panel]  # the mask from the CAMs, then others, such as a CRF's
    labels: Sequence[Label]  # background first
    colors: Mapping[str, Color]  # of all classes in pictures, in the order of the data set
    undecided: bool  # whether a mask has ignored pixels


def view(
    image_id: str,
    image: np.ndarray,
    cams: Mapping[int, np.ndarray],
    truth: np.ndarray | None,
    others: Mapping[str, np.ndarray | None],
    threshold: float,
    classes: Sequence[str],
) -> View:
    """Draws and scores an image.

    Args:
        image_id: id of the image.
        image: (H, W, 3) uint8.
        cams: {class index from 0: (H, W) float32}.
        truth: (H, W) of `label_type`, 0 background, 1 .. C; None without a true mask.
        others: other masks, such as a CRF's, like `truth`, by heading; None if the image has none.
        threshold: background score in the mask from the CAMs.
        classes: names without background.
    """
    height, width = image.shape[:2]
    factor = SIDE / max(height, width)
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    small = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC))

    background = {0: np.full((height, width), threshold, np.float32)}
    seed = label_map(background | {c + 1: cam for c, cam in cams.items()}, len(classes))
    ignored = ignored_in(seed)
    iou = None if truth is None else class_iou(seed, truth, len(classes))
    present = set() if truth is None else {*np.unique(truth).tolist()} - {0, ignored}
    labels = [Label("background", BACKGROUND, None if iou is None else float(iou[0]))]
    for label in sorted({c + 1 for c in cams} | present):
        labels.append(Label(classes[label - 1], PALETTE[label & 255], None if iou is None else float(iou[label])))

    masks, shown = [], {c + 1 for c in cams} | ({*np.unique(truth).tolist()} if truth is not None else set())
    for heading, mask in {"mask from the CAMs": seed, **others}.items():
        shown |= {*np.unique(mask).tolist()} if mask is not None else set()
        score = "" if mask is None or truth is None else percent("mIoU", mean_iou(class_iou(mask, truth, len(classes))))
        masks.append(Panel(heading, score, None if mask is None else painted(small, mask)))
    return View(
        image_id,
        None if iou is None else mean_iou(iou),
        Panel("photograph", image_id, small),
        None
        if truth is None
        else Panel("true mask", ", ".join(classes[c - 1] for c in sorted(present)), painted(small, truth)),
        [Panel("CAM", classes[c], outlined(small, np.asarray(cv2.resize(cam, size)), threshold)) for c, cam in cams.items()],
        largest_class(cams, truth),
        masks,
        labels,
        {classes[label - 1]: PALETTE[label & 255] for label in sorted(shown - {0, ignored})},
        ignored in shown,
    )


def class_iou(mask: np.ndarray, truth: np.ndarray, num_classes: int) -> np.ndarray:
    """(C + 1,) IoU in percent of a mask (H, W), background first; NaN for classes that are not in the truth (H, W)."""
    confusion = Confusion(num_classes)
    confusion.add(mask, truth)
    scores = confusion.scores()
    return np.where(scores.pixels > 0, scores.iou[0], np.nan)


def mean_iou(iou: np.ndarray) -> float:
    """The mean over the classes in the truth; NaN if all of it is ignored."""
    return float("nan") if np.isnan(iou).all() else float(np.nanmean(iou))


def largest_class(cams: Mapping[int, np.ndarray], truth: np.ndarray | None) -> int:
    """Index of the CAM to show if there is room for only one: that of the class with the most pixels; 0 without CAMs."""
    sizes = [float((cam if truth is None else truth == c + 1).sum()) for c, cam in cams.items()]
    return int(np.argmax(sizes)) if sizes else 0


def painted(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """A mask in VOC's colours, resized to its image, which shows through in grey in the background."""
    mask = np.asarray(cv2.resize(mask, image.shape[1::-1], interpolation=cv2.INTER_NEAREST))
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[:, :, None]
    return np.where(mask[:, :, None] > 0, voc_palette()[mask & 255], np.uint8(0.4 * grey))


def outlined(image: np.ndarray, cam: np.ndarray, threshold: float) -> np.ndarray:
    """A CAM over its image, with a white line, edged in black, where it crosses the threshold."""
    picture = cam_overlay(image, cam)
    line = cv2.morphologyEx((cam > threshold).astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
    picture[cv2.dilate(line, np.ones((3, 3), np.uint8)) > 0] = 0
    picture[line > 0] = 255
    return picture


def percent(name: str, value: float) -> str:
    """A score as the text of a caption."""
    return "nothing to score" if np.isnan(value) else f"{name} {value:.1f} %"
