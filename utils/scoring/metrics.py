"""Segmentation scores: IoU, precision and recall, for every threshold of the background score in one pass."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

IGNORE = 255
"""Value of ignored pixels in label images of 8 bits; see `ignored_in`."""
MOST_OF_8_BITS = 254
"""Most classes that label images of 8 bits can have."""
SWEEP = tuple(np.round(np.arange(0.01, 0.995, 0.01), 2).tolist())
"""Thresholds 0.01 .. 0.99."""


STEPS = 4096
"""Parts of [0, 1] by which thresholds are looked up; a power of two, so that multiplying by it is exact."""
PIXELS_AT_ONCE = 32_768
"""Pixels per part, so that intermediate arrays stay in the cache and need no fresh pages of memory."""


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
    """Counts pixels by (class, number of thresholds that its score exceeds), where the class is the best foreground class.

    At a threshold, the score of the background is the threshold and that of a class its CAM; the largest score wins, and the
    background wins ties. The scores of all thresholds follow from these counts, so each image is read once. Memory grows
    with the number of classes, not with its square.

    Args:
        num_classes: classes without background, C.
        thresholds: ascending, K, in [0, 1] and more than 1 / `STEPS` apart.

    Raises:
        ValueError: thresholds are too close.
    """

    def __init__(self, num_classes: int, thresholds: tuple[float, ...] = SWEEP):
        self.num_classes = num_classes
        self.thresholds = np.asarray(thresholds, np.float32)
        # A score in a step of 1 / STEPS exceeds all thresholds below the step, and perhaps the one in it: no search needed.
        self.below = np.searchsorted(self.thresholds, np.arange(STEPS + 1, dtype=np.float32) / STEPS).astype(np.int32)
        self.within = np.append(self.thresholds, np.float32(np.inf))[self.below]
        if np.diff(self.below).max() > 1:
            raise ValueError(f"thresholds must be more than 1/{STEPS} apart")
        # Three tables of pixels, by class (background first) and number of thresholds exceeded. 0: where the class is best
        # (row 0 unused); 1: those of them whose true class it is (row 0: all background pixels); 2: all pixels of the class
        # (only column 0).
        self.counts = np.zeros((3, num_classes + 1, len(thresholds) + 1), np.int64)

    def add(self, cams: Mapping[int, np.ndarray], mask: np.ndarray) -> None:
        """Counts one image.

        Args:
            cams: {class index from 0, without background: (H, W) float32}.
            mask: (H, W) integers, 0 background, 1 .. C; `ignored_in` it is ignored.
        """
        _, rows, columns = self.counts.shape
        cams = dict(sorted(cams.items())) or {0: np.zeros(mask.shape, np.float32)}
        maps, truth = [cam.ravel() for cam in cams.values()], mask.ravel()
        labels = np.array([c + 1 for c in cams], mask.dtype)
        found, of_class = np.zeros(4 * columns * len(labels), np.int64), np.zeros(rows, np.int64)
        for start in range(0, truth.size, PIXELS_AT_ONCE):
            part = slice(start, start + PIXELS_AT_ONCE)
            found += np.bincount(self.cells([cam[part] for cam in maps], truth[part], labels), minlength=found.size)
            of_class += np.bincount(truth[part], minlength=rows)[:rows]

        of_class[ignored_in(mask) : ignored_in(mask) + 1] = 0
        total, right, pixels = self.counts
        by_relation = found.reshape(len(labels), 4, columns)
        total[labels] += by_relation[:, :3].sum(1)
        right[labels] += by_relation[:, 1]
        right[0] += by_relation[:, 2].sum(0)
        pixels[:, 0] += of_class

    def cells(self, cams: Sequence[np.ndarray], mask: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Numbers pixels by (best class, relation to the true class, thresholds exceeded), without branches.

        Args:
            cams: (n,) scores of each class.
            mask: (n,) true classes.
            labels: what each of `cams` is called in the mask.

        Returns:
            (n,) int32; relations are 0: wrong, 1: right, 2: background, 3: ignored.
        """
        best, score = best_class(cams)
        relation = (mask == (labels[best] if len(labels) > 1 else labels[0])).view(np.uint8)
        for code, value in ((2, 0), (3, ignored_in(mask))):
            np.maximum(relation, (mask == value).view(np.uint8) * np.uint8(code), out=relation)
        cell = best.astype(np.int32)
        cell *= 4
        cell += relation
        cell *= self.counts.shape[2]
        cell += self.exceeded(score)
        return cell

    def exceeded(self, scores: np.ndarray) -> np.ndarray:
        """The number of thresholds that each score exceeds; scores are at least 0."""
        step = (np.minimum(scores, 1) * STEPS).astype(np.intp)
        return np.take(self.below, step) + (scores > np.take(self.within, step))

    def scores(self) -> Scores:
        """Scores at every threshold."""
        return scores_of(*self.areas(), self.thresholds)

    def areas(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Numbers of pixels: (K, C + 1) rightly predicted, (K, C + 1) predicted, (C + 1,) true."""
        # (2, K, C + 1): pixels whose score exceeds threshold k.
        exceeding = np.flip(np.flip(self.counts[:2], 2).cumsum(2), 2)[:, :, 1:].transpose(0, 2, 1)
        best, right = np.ascontiguousarray(exceeding)  # contiguous, so that the order of summation over classes is fixed
        pixels = self.counts[2, :, 0]
        best[:, 0] = pixels.sum() - best[:, 1:].sum(1)
        right[:, 0] = pixels[0] - right[:, 0]
        return right, best, pixels


def best_class(cams: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The position of the best class at each pixel, and its score; of equal scores the first.

    Args:
        cams: scores of each class, arrays of one shape, at least one. A score below 0 counts as 0.
    """
    kind = np.uint8 if len(cams) <= 256 else np.uint16
    best, score = np.zeros(cams[0].shape, kind), np.maximum(cams[0], 0)
    for position, cam in enumerate(cams[1:], start=1):
        better = cam > score
        np.maximum(best, better.view(np.uint8) * kind(position), out=best)  # the last one that was better
        np.maximum(score, cam, out=score)
    return best, score


class Confusion:
    """Counts pixels by (ground truth, prediction), for predictions without a threshold.

    The last column counts pixels that the prediction leaves undecided (255): false negatives of their class.
    """

    def __init__(self, num_classes: int):
        self.num_classes = num_classes
        self.counts = np.zeros((num_classes + 1, num_classes + 2), np.int64)

    def add(self, prediction: np.ndarray, mask: np.ndarray) -> None:
        """Counts one image: two (H, W) arrays of 0 background, 1 .. C; `ignored_in` the mask is ignored."""
        valid = mask != ignored_in(mask)
        decided = np.minimum(prediction[valid], self.num_classes + 1)
        cell = mask[valid].astype(np.int64) * (self.num_classes + 2) + decided
        self.counts += np.bincount(cell, minlength=self.counts.size).reshape(self.counts.shape)

    def scores(self) -> Scores:
        """Scores with K = 1."""
        hits, predicted = np.diagonal(self.counts), self.counts.sum(0)[:-1]
        return scores_of(hits[None], predicted[None], self.counts.sum(1), np.empty(0, np.float32))


def scores_of(hits: np.ndarray, predicted: np.ndarray, true: np.ndarray, thresholds: np.ndarray) -> Scores:
    """Scores from numbers of pixels of each class.

    Args:
        hits: (K, C + 1) pixels of the class that are predicted as it.
        predicted: (K, C + 1) pixels that are predicted as the class.
        true: (C + 1,) pixels of the class.
        thresholds: (K,), or empty.
    """
    iou, precision, recall = (100 * hits / np.maximum(whole, 1) for whole in (predicted + true - hits, predicted, true))
    return Scores(np.round(thresholds.astype(np.float64), 6), iou, precision, recall, true)


def label_map(scores: Mapping[int, np.ndarray], num_classes: int = 0) -> np.ndarray:
    """The class with the largest score at each pixel, (H, W) of `label_type`; the lowest index wins ties.

    Args:
        scores: {class index: (H, W)}; 0 is background.
        num_classes: number of classes of the data set, without background; 0: the largest index.
    """
    classes = np.array(sorted(scores), label_type(num_classes or max(scores)))
    return classes[np.stack([scores[c] for c in classes.tolist()]).argmax(0)]


def label_type(num_classes: int) -> type[np.uint8] | type[np.uint16]:
    """The type of label images: 8 bits, or 16 for more than `MOST_OF_8_BITS` classes."""
    return np.uint8 if num_classes <= MOST_OF_8_BITS else np.uint16


def ignored_in(labels: np.ndarray) -> int:
    """The value of ignored pixels in a label image: 255, or 65535 in one of 16 bits."""
    return 65535 if labels.dtype == np.uint16 else IGNORE
