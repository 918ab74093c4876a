"""Batch norm over the images of all processes, so that they train as one process would.

PyTorch's SyncBatchNorm works only on GPUs.
"""

import torch
from timm.layers import BatchNormAct2d
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce

from utils.machine.distributed import world_size


def normalize(norm: nn.BatchNorm2d, x: Tensor) -> Tensor:
    """(B, C, H, W), normalised by mean and variance over all processes, whose shards have equal sizes."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    assert norm.num_batches_tracked is not None
    with torch.autocast(x.device.type, enabled=False):
        values = x.float()
        mean = all_reduce(values.mean((0, 2, 3))) / world_size()
        centred = values - mean[:, None, None]
        variance = all_reduce(centred.square().mean((0, 2, 3))) / world_size()
        with torch.no_grad():
            count = world_size() * x.numel() / x.shape[1]
            momentum = norm.momentum or 0.0
            norm.running_mean.lerp_(mean, momentum)
            norm.num_batches_tracked += 1
            norm.running_var.lerp_(variance * (count / (count - 1)), momentum)
        scale = norm.weight * (variance + norm.eps).rsqrt()
        return (centred * scale[:, None, None] + norm.bias[:, None, None]).to(x.dtype)


class SyncedBatchNorm(nn.BatchNorm2d):
    """`nn.BatchNorm2d` over all processes."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        return normalize(self, x) if self.training else super().forward(x)


class SyncedBatchNormAct(BatchNormAct2d):
    """timm's batch norm with its activation, over all processes."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        return self.act(self.drop(normalize(self, x))) if self.training else super().forward(x)


SYNCED = {nn.BatchNorm2d: SyncedBatchNorm, BatchNormAct2d: SyncedBatchNormAct}


def sync_batch_norm(net: nn.Module) -> None:
    """Turns the batch norms of a network into synced ones; its parameters stay as they are."""
    for module in net.modules():
        if type(module) in SYNCED:
            module.__class__ = SYNCED[type(module)]
