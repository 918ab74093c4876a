"""Scores of every image by itself beside those of all together, in one pass over the CAM files."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from utils.machine.parallel import in_parallel
from utils.scoring.metrics import IGNORE, SWEEP, Confusion, Scores, ThresholdSweep, ignored_in

IMAGES_PER_TASK = 8

Reader = Callable[[str], tuple[dict[int, np.ndarray], np.ndarray]]
"""From an image id to its CAMs {class index: (H, W) float32} and its mask (H, W) of `label_type`."""


@dataclass(frozen=True)
class ImageScores:
    """Scores of n images.

    Args:
        together: scores over the pixels of all images.
        each: (n,) mIoU in percent of every image at the threshold that is best for all, over the classes in its mask; NaN
            if all of the mask is ignored.
    """

    together: Scores
    each: np.ndarray

    @property
    def threshold(self) -> float:
        """The threshold that is best for all."""
        return float(self.together.thresholds[self.together.best])


def score_images(read: Reader, ids: Sequence[str], num_classes: int, workers: int) -> ImageScores:
    """Scores images at all thresholds; of each image, only the mIoU at each threshold is kept.

    Args:
        read: called in other processes.
        ids: at least one.
        num_classes: without background.
        workers: processes; -1: one per core.

    Raises:
        InputError: a file is missing, damaged or misshapen, or a process died.
    """
    total = ThresholdSweep(num_classes)
    each = np.empty((len(ids), len(SWEEP)), np.float32)
    rows = iter(each)
    tasks = [ids[i : i + IMAGES_PER_TASK] for i in range(0, len(ids), IMAGES_PER_TASK)]
    for sweeps in in_parallel(partial(sweep_all, read), tasks, workers, "scoring"):
        for classes, own in sweeps:
            total.counts[:, [0, *(c + 1 for c in classes)]] += own.counts
            next(rows)[:] = mean_iou(own.scores())
    together = total.scores()
    return ImageScores(together, each[:, together.best])


def score_masks(
    read: Callable[[str], tuple[np.ndarray, np.ndarray]], ids: Sequence[str], num_classes: int, workers: int
) -> float:
    """mIoU in percent of masks that were not made by a threshold on CAMs.

    Args:
        read: from an image id to two (H, W) label images, the mask and the truth; called in other processes.
        ids, num_classes, workers: see `score_images`.

    Raises:
        InputError: a file is missing, damaged or misshapen, or a process died.
    """
    total = Confusion(num_classes)
    tasks = [ids[i : i + IMAGES_PER_TASK] for i in range(0, len(ids), IMAGES_PER_TASK)]
    for counts in in_parallel(partial(count_all, read, num_classes), tasks, workers, "scoring masks"):
        total.counts += counts
    return float(total.scores().miou[0])


def count_all(read: Callable[[str], tuple[np.ndarray, np.ndarray]], num_classes: int, ids: Sequence[str]) -> np.ndarray:
    """Reads images, and returns the counts of their `Confusion`."""
    confusion = Confusion(num_classes)
    for image_id in ids:
        confusion.add(*read(image_id))
    return confusion.counts


def sweep_all(read: Reader, ids: Sequence[str]) -> list[tuple[list[int], ThresholdSweep]]:
    """Reads images, and returns `sweep_image` of each."""
    return [sweep_image(*read(image_id)) for image_id in ids]


def sweep_image(cams: Mapping[int, np.ndarray], mask: np.ndarray) -> tuple[list[int], ThresholdSweep]:
    """Counts of one image over its own classes only, which are few even if the data set has many.

    Args:
        cams, mask: see `Reader`.

    Returns:
        The classes in CAMs or mask, ascending (at least one), and counts in which these are numbered from 0.
    """
    in_mask = np.unique(mask[(mask != 0) & (mask != ignored_in(mask))]).astype(int) - 1
    classes = sorted({*cams, *in_mask.tolist()}) or [0]
    number = np.zeros(ignored_in(mask) + 1, np.uint8)
    number[[c + 1 for c in classes]] = np.arange(len(classes)) + 1
    number[-1] = IGNORE
    own = ThresholdSweep(len(classes))
    own.add({classes.index(c): cam for c, cam in cams.items()}, number[mask])
    return classes, own


def mean_iou(scores: Scores) -> np.ndarray:
    """(K,) mean IoU over the classes in the truth; NaN if there is none."""
    present = scores.pixels > 0
    return scores.iou[:, present].mean(1) if present.any() else np.full(len(scores.iou), np.nan)


def examples(each: np.ndarray, count: int) -> dict[str, list[int]]:
    """Images that show what to expect.

    Args:
        each: (n,) mIoU of all images; those with NaN are skipped.
        count: images of a group; fewer if there are not enough for three groups without overlap.

    Returns:
        Indices by group: `worst` from the worst up, `median` ascending, `best` from the best down. Groups can be empty.
    """
    order = [i for i in np.argsort(each, kind="stable").tolist() if not np.isnan(each[i])]
    size = min(count, max(1, len(order) // 3))
    worst = order[:size]
    best = [i for i in order[::-1][:size] if i not in worst]
    start = max(0, (len(order) - size) // 2)
    median = [i for i in order[start : start + size] if i not in worst and i not in best]
    return {"worst": worst, "median": median, "best": best}


def trimmed(groups: Mapping[str, Sequence[int]], total: int) -> dict[str, list[int]]:
    """Groups of images, cut to `total` images in all by dropping the last ones of the largest groups."""
    left = {name: [*members] for name, members in groups.items()}
    while sum(map(len, left.values())) > total:
        max(reversed(left.values()), key=len).pop()
    return {name: members for name, members in left.items() if members}
