"""Scores of a segmentation network's masks, between epochs."""

from collections.abc import Callable

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader

from ..machine.device import Precision
from ..machine.distributed import sum_over_processes
from ..machine.interruptions import Interruptions
from ..machine.memory import return_freed_memory
from ..machine.parallel import in_background
from ..scoring.metrics import Confusion, Scores
from .inference import segment_images


def score_masks(
    net: nn.Module,
    loader: DataLoader,
    precision: Precision,
    read_truth: Callable[[str], np.ndarray],
    num_classes: int,
    interruptions: Interruptions,
) -> Scores:
    """Scores the masks of the images of all processes, one by one at one scale, without writing them."""
    tally = Confusion(num_classes)
    return_freed_memory()  # before workers are forked

    def score(image_id: str, mask: np.ndarray) -> None:
        tally.add(mask, read_truth(image_id))

    with in_background(0) as do:  # the network does not wait for masks and counts
        for sample, found in segment_images(net, loader, precision, "validation", interruptions):
            do(score, sample.image_id, found.argmax(0).to(torch.uint8).cpu().numpy())
    tally.counts = sum_over_processes(tally.counts)
    return tally.scores()
