"""What bounds the mIoU of CAMs: scores of masks in which a part of the decision is taken from the true mask."""

from collections.abc import Mapping

import numpy as np

from .metrics import Confusion, ThresholdSweep, best_class, ignored_in

CASES = ("nothing", "class", "threshold", "background")
"""What is taken from the true mask: nothing, the class of what is foreground in both, the threshold at which most pixels of
the image are right, or what is background."""


class Bounds:
    """Confusions of all `CASES`, and of images of one and of several classes.

    Args:
        num_classes: classes without background, C.
        threshold: background score of all images.
    """

    def __init__(self, num_classes: int, threshold: float):
        self.threshold = threshold
        self.cases = {case: Confusion(num_classes) for case in CASES}
        self.one, self.several = Confusion(num_classes), Confusion(num_classes)

    def add(self, cams: Mapping[int, np.ndarray], mask: np.ndarray, own_threshold: float) -> None:
        """Counts one image.

        Args:
            cams: {class index from 0, without background: (H, W) float32}, at least one.
            mask: (H, W) integers, 0 background, 1 .. C; `ignored_in` it is ignored.
            own_threshold: the best threshold of this image (`best_threshold`).
        """
        cams = dict(sorted(cams.items()))
        position, score = best_class(list(cams.values()))
        labels = np.array([c + 1 for c in cams], mask.dtype)[position]
        found = np.where(score > self.threshold, labels, 0)
        is_object = (mask > 0) & (mask != ignored_in(mask))
        predictions = {
            "nothing": found,
            "class": np.where((found > 0) & is_object, mask, found),
            "threshold": np.where(score > own_threshold, labels, 0),
            "background": np.where(is_object, labels, 0),
        }
        for case, prediction in predictions.items():
            self.cases[case].add(prediction, mask)
        (self.one if len(cams) == 1 else self.several).add(found, mask)

    def merge(self, other: "Bounds") -> None:
        """Adds the counts of other images."""
        mine, others = (*self.cases.values(), self.one, self.several), (*other.cases.values(), other.one, other.several)
        for tally, more in zip(mine, others, strict=True):
            tally.counts += more.counts


def best_threshold(cams: Mapping[int, np.ndarray], mask: np.ndarray, num_classes: int) -> float:
    """The threshold at which most pixels of an image are right; of equal ones the lowest."""
    sweep = ThresholdSweep(num_classes)
    sweep.add(cams, mask)
    right, _, _ = sweep.areas()
    return float(sweep.thresholds[right.sum(1).argmax()])


def miou(tally: Confusion) -> float:
    """Mean IoU over all classes in percent, as evaluation.py gives it."""
    return float(tally.scores().miou[0])


def miou_of_present(tally: Confusion) -> float:
    """The same over the classes that the true masks have, for a part of the images, which need not show all; nan: none."""
    scores = tally.scores()
    return float(scores.iou[0][scores.pixels > 0].mean()) if scores.pixels.any() else float("nan")
