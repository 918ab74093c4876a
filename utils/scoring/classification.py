"""Multi-label classification scores of whole images: mean average precision (mAP) and F1."""

from dataclasses import dataclass

import numpy as np

PROBABILITY = 0.5
"""A class counts as predicted from this probability on."""


@dataclass(frozen=True)
class ClassificationScores:
    """Percentages over n images and C classes."""

    ap: np.ndarray  # (C,) average precision of each class; NaN for a class that is in no image
    f1: float  # over all pairs (image, class): micro F1, called overall F1 (OF1) in multi-label recognition

    @property
    def scored(self) -> int:
        """How many classes are in at least one image, and so have an average precision."""
        return int(np.isfinite(self.ap).sum())

    @property
    def mean_ap(self) -> float:
        """Mean over the classes that are in at least one image; 0 if there is none."""
        return float(self.ap[np.isfinite(self.ap)].sum() / max(self.scored, 1))

    def __str__(self) -> str:
        part = "" if self.scored == len(self.ap) else f" (of the {self.scored} classes of {len(self.ap)} that occur)"
        return f"mAP {self.mean_ap:.2f}{part}, F1 {self.f1:.2f}"


class ClassificationTally:
    """Collects probabilities and labels, C each per image; average precision ranks all images at once."""

    def __init__(self, num_classes: int):
        self.num_classes = num_classes
        self.images: list[tuple[np.ndarray, np.ndarray]] = []

    def add(self, probabilities: np.ndarray, labels: np.ndarray) -> None:
        """Adds an image: probabilities (C,), and indices (K,) of the classes that are in it."""
        self.images.append((probabilities, np.isin(np.arange(self.num_classes), labels)))

    def scores(self) -> ClassificationScores:
        """Scores of the images added so far; their order does not matter."""
        probabilities, present = (np.array(rows).reshape(-1, self.num_classes) for rows in zip(*self.images, strict=True))
        ap = [average_precision(p, t) for p, t in zip(probabilities.T, present.T, strict=True)]
        return ClassificationScores(100 * np.array(ap), 100 * micro_f1(probabilities >= PROBABILITY, present))


def average_precision(scores: np.ndarray, positive: np.ndarray) -> float:
    """Area under the precision-recall curve of one class, by PASCAL VOC's definition since 2010.

    The precision at a recall is the largest precision at that or a higher recall, and the area is exact, not sampled
    (http://host.robots.ox.ac.uk/pascal/VOC/voc2012/htmldoc/devkit_doc.html, "Average Precision"). COCO samples the same
    curve at 101 recalls; scikit-learn's `average_precision_score` does not take the maximum, so it is never larger. Images
    of equal score are one point of the curve, so that their order does not matter.

    Args:
        scores: (n,) one per image.
        positive: (n,) bool, whether the class is in the image.

    Returns:
        The area in [0, 1]; NaN if no image is positive.
    """
    if not positive.any():
        return float("nan")
    order = np.argsort(-scores, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))  # last place of each group of equal scores
    hits = positive[order].cumsum()[ends]
    precision = hits / (ends + 1)
    largest_beyond = np.maximum.accumulate(precision[::-1])[::-1]
    return float((np.diff(hits, prepend=0) * largest_beyond).sum() / hits[-1])


def micro_f1(predicted: np.ndarray, present: np.ndarray) -> float:
    """F1 over all entries (n, C), in [0, 1]: 2 TP / (2 TP + FP + FN); 0 if nothing is present or predicted."""
    return 2 * float((predicted & present).sum()) / max(int(predicted.sum() + present.sum()), 1)
