"""Scores of a network's CAMs, between epochs."""

from collections.abc import Callable
from typing import Any

import numpy as np
from torch.utils.data import DataLoader

from ..machine.device import Precision
from ..machine.distributed import gather, sum_over_processes
from ..machine.interruptions import Interruptions
from ..machine.memory import return_freed_memory
from ..machine.parallel import in_background
from ..scoring.classification import ClassificationScores, ClassificationTally
from ..scoring.metrics import Scores, ThresholdSweep
from .inference import CamNetwork, infer_images


def score_cams(
    net: CamNetwork,
    loader: DataLoader,
    precision: Precision,
    read_truth: Callable[[str], np.ndarray],
    num_classes: int,
    interruptions: Interruptions,
    watch: Callable[..., None] = lambda sample, cams: None,
) -> tuple[Scores, ClassificationScores]:
    """Segmentation scores of CAMs at thresholds 0.01 .. 0.99, and classification scores, over all processes' images.

    Args:
        net, loader, precision, interruptions: see `infer_images`.
        read_truth: from an image id to its mask, (H, W) of the size of the CAMs.
        num_classes: number of classes without background.
        watch: called with every sample of this process and its CAMs.
    """
    sweep, tally = ThresholdSweep(num_classes), ClassificationTally(num_classes)
    return_freed_memory()  # before workers are forked

    def score(sample: Any, cams: dict[int, np.ndarray], probabilities: np.ndarray) -> None:
        sweep.add(cams, read_truth(sample.image_id))
        tally.add(probabilities, sample.labels.numpy())
        watch(sample, cams)

    with in_background(0) as do:  # the network does not wait for masks and counts
        for found in infer_images(net, loader, precision, "validation", interruptions):
            do(score, *found)
    sweep.counts = sum_over_processes(sweep.counts)
    tally.images = [image for images in gather(tally.images) for image in images]
    return sweep.scores(), tally.scores()
