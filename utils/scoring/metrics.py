"""Segmentation scores: IoU, precision and recall, for every threshold of the background score in one pass."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

IGNORE = 255
SWEEP = tuple(np.round(np.arange(0.01, 0.995, 0.01), 2).tolist())
"""Thresholds 0.01 .. 0.99."""


@dataclass(frozen=True)
class Scores:
    """Percentages at K thresholds for C + 1 classes, background first."""

    thresholds: np.ndarray  # (K,) in [0, 1]; empty for predictions without a threshold, with K = 1
    iou: np.ndarray  # (K, C + 1)
    precision: np.ndarray  # (K, C + 1)
    recall: np.ndarray  # (K, C + 1)
    pixels: np.ndarray  # (C + 1,) pixels of each class in the ground truth

    @property
    def miou(self) -> np.ndarray:
        """(K,) mean over all C + 1 classes; a class that never occurs counts as 0."""
        return self.iou.mean(1)

    @property
    def best(self) -> int:
        """Row of the best mIoU; with equal mIoU the lowest threshold."""
        return int(self.miou.argmax())


class ThresholdSweep:
    """Counts pixels by (ground truth, best foreground class, number of thresholds that its score exceeds).

    At a threshold, the score of the background is the threshold and that of a class its CAM; the largest score wins, and the
    background wins ties. The confusion matrices of all thresholds follow from these counts, so each image is read once.

    Args:
        num_classes: classes without background, C.
        thresholds: ascending.
    """

    def __init__(self, num_classes: int, thresholds: tuple[float, ...] = SWEEP):
        self.num_classes = num_classes
        self.thresholds = np.asarray(thresholds, np.float32)
        self.counts = np.zeros((num_classes + 1, num_classes, len(thresholds) + 1), np.int64)

    def add(self, cams: Mapping[int, np.ndarray], mask: np.ndarray) -> None:
        """Counts one image.

        Args:
            cams: {class index from 0, without background: (H, W) float32}.
            mask: (H, W) integers, 0 background, 1 .. C, 255 ignored.
        """
        valid = mask != IGNORE
        truth = mask[valid].astype(np.int64)
        best_class = np.zeros(truth.shape, np.int64)
        best_score = np.zeros(truth.shape, np.float32)
        for c in sorted(cams):
            score = cams[c][valid]
            better = score > best_score
            best_class[better] = c
            np.maximum(best_score, score, out=best_score)
        exceeded = np.searchsorted(self.thresholds, best_score, side="left")
        cell = (truth * self.num_classes + best_class) * (len(self.thresholds) + 1) + exceeded
        self.counts += np.bincount(cell, minlength=self.counts.size).reshape(self.counts.shape)

    def scores(self) -> Scores:
        """Scores at every threshold."""
        C = self.num_classes
        # (K, C + 1, C): pixels by ground truth and predicted class whose score exceeds threshold k.
        above = np.flip(np.flip(self.counts, 2).cumsum(2), 2)[:, :, 1:].transpose(2, 0, 1)
        pixels = self.counts.sum((1, 2))
        confusion = np.empty((len(self.thresholds), C + 1, C + 1), np.int64)
        confusion[:, :, 1:] = above
        confusion[:, :, 0] = pixels - above.sum(2)
        return scores_of(confusion, self.thresholds)


class Confusion:
    """Counts pixels by (ground truth, prediction), for predictions without a threshold.

    The last column counts pixels that the prediction leaves undecided (255): false negatives of their class.
    """

    def __init__(self, num_classes: int):
        self.num_classes = num_classes
        self.counts = np.zeros((num_classes + 1, num_classes + 2), np.int64)

    def add(self, prediction: np.ndarray, mask: np.ndarray) -> None:
        """Counts one image: two (H, W) arrays of 0 background, 1 .. C; 255 in `mask` is ignored."""
        valid = mask != IGNORE
        decided = np.minimum(prediction[valid], self.num_classes + 1)
        cell = mask[valid].astype(np.int64) * (self.num_classes + 2) + decided
        self.counts += np.bincount(cell, minlength=self.counts.size).reshape(self.counts.shape)

    def scores(self) -> Scores:
        """Scores, K = 1."""
        return scores_of(self.counts[None], np.empty(0, np.float32))


def scores_of(confusion: np.ndarray, thresholds: np.ndarray) -> Scores:
    """Scores from (K, C + 1, C + 1) counts by (ground truth, prediction), or C + 2 predictions, the last one undecided."""
    hits = np.diagonal(confusion, axis1=1, axis2=2)
    predicted, true = confusion.sum(1)[:, : confusion.shape[1]], confusion.sum(2)
    iou, precision, recall = (100 * hits / np.maximum(whole, 1) for whole in (predicted + true - hits, predicted, true))
    return Scores(np.round(thresholds.astype(np.float64), 6), iou, precision, recall, true[0])


def label_map(scores: Mapping[int, np.ndarray]) -> np.ndarray:
    """The class with the largest score at each pixel, (H, W) uint8; the lowest index wins ties.

    Args:
        scores: {class index: (H, W)}; 0 is background.
    """
    classes = np.array(sorted(scores), np.uint8)
    return classes[np.stack([scores[c] for c in classes.tolist()]).argmax(0)]
