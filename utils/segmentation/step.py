"""The training step of a segmentation network."""

import torch.nn.functional as F
from torch import Tensor

from ..machine.distributed import mean_over_processes
from ..scoring.metrics import IGNORE
from ..training.step import NetworkT, Step


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
