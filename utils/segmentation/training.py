"""A training step of a segmentation network, and its score between epochs."""

from collections.abc import Callable, Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader

from ..errors import Stopped
from ..log import progress
from ..machine.device import Precision
from ..machine.distributed import is_main, mean_over_processes, sum_over_processes
from ..machine.interruptions import SAVE, Interruptions
from ..machine.memory import return_freed_memory, returning_freed_memory
from ..machine.parallel import in_background
from ..scoring.metrics import IGNORE, Confusion, Scores
from ..training.step import NetworkT, Step
from .inference import segment


class SegmentationStep(Step[NetworkT]):
    """Everything between a batch and its loss, as `utils.training.engine.Training` takes it.

    Args:
        net: `models.SegmentationNet`.
        precision: precision of the network.
    """

    def forward(self, image01: Tensor, mask: Tensor, noise: dict[int, Tensor], epoch: int) -> dict[str, Tensor]:
        """Args:
            image01: (B, 3, S, S) in [0, 1].
            mask: (B, S, S) in 0 .. C; 255 is ignored.
            noise, epoch: not used.

        Returns:
            The cross entropy, a mean over the pixels of all processes that are not ignored.
        """
        with self.precision.autocast():
            logits = self.net(image01)  # (B, C + 1, S, S)
        truth = mask.flatten().long()
        # On CUDA, the loss is deterministic for logits as (pixels, classes), but not as (B, classes, H, W).
        rows = logits.float().permute(0, 2, 3, 1).flatten(0, 2)  # (B * S * S, C + 1)
        total = F.cross_entropy(rows, truth, ignore_index=IGNORE, reduction="sum")
        counted = mean_over_processes((truth != IGNORE).sum().float())
        return {"ce": total / counted.clamp_min(1)}


def segment_images(
    net: nn.Module,
    loader: DataLoader,
    precision: Precision,
    description: str,
    interruptions: Interruptions,
    mirror: bool = False,
    window: int = 2**15,
) -> Iterator[tuple]:
    """Probabilities of every image of a loader of `InferenceImages`; see `segment`.

    Yields:
        (sample, (C + 1, H, W) float32 on the device)

    Raises:
        Stopped: a signal came.
    """
    net.eval()
    for sample in returning_freed_memory(progress(loader, description, shown=is_main()), precision.device):
        if interruptions.request() > SAVE:
            raise Stopped(interruptions.request())
        yield sample, segment(net, sample.pixels, tuple(sample.size), precision, mirror, window)


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
