"""Affinities of places: a training step, and random walks of CAMs along them (PSA: https://arxiv.org/abs/1803.10464).

A place is a cell of `stride` x `stride` pixels.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..cams.walk import affinity_weights, disc_offsets, pair_affinity, walk
from ..machine.device import Precision, to_device
from ..machine.distributed import mean_over_processes
from ..scoring.metrics import IGNORE
from ..training.step import NetworkT, Step

EPSILON = 1e-5
SHARES = {"background": 0.25, "object": 0.25, "different": 0.5}
"""Weights in the loss: pairs of background, pairs of one class, pairs of two classes."""


def grid_of(size: tuple[int, int], stride: int) -> tuple[int, int]:
    """Rows and columns of the grid of places in an image of (H, W)."""
    return -(-size[0] // stride), -(-size[1] // stride)


def half_disc(radius: int) -> list[tuple[int, int]]:
    """Offsets within a radius, one of each two opposite ones: an affinity has no direction."""
    return [(y, x) for y, x in disc_offsets(radius) if (y, x) > (0, 0)]


def pairs(maps: Tensor, y: int, x: int) -> tuple[Tensor, Tensor]:
    """Values of maps (..., H, W) at all places, and at the places (y, x) away, where both are inside; y >= 0."""
    height, width = maps.shape[-2:]
    left, right = max(0, -x), width - max(0, x)
    return maps[..., : height - y, left:right], maps[..., y:, left + x : right + x]


class AffinityStep(Step[NetworkT]):
    """Everything between a batch and its losses, as `utils.training.engine.Training` takes it.

    Args:
        net: `models.SegmentationNet`, whose output is an embedding.
        precision: precision of the network.
        stride: side of a place in pixels.
        radius: largest distance of a pair, in places.
    """

    def __init__(self, net: NetworkT, precision: Precision, stride: int, radius: int):
        super().__init__(net, precision)
        self.stride = stride
        self.offsets = half_disc(radius)

    def forward(self, image01: Tensor, mask: Tensor, noise: dict[int, Tensor], epoch: int) -> dict[str, Tensor]:
        """Args:
            image01: (B, 3, S, S) in [0, 1].
            mask: (B, S, S) in 0 .. C; 255 is ignored.
            noise, epoch: not used.

        Returns:
            Losses of `SHARES`: weighted means over the pairs of all processes.
        """
        with self.precision.autocast():
            embedding = self.net(image01)
        grid = grid_of((image01.shape[-2], image01.shape[-1]), self.stride)
        embedding = F.adaptive_avg_pool2d(embedding.float(), grid)  # (B, D, h, w)
        labels = F.interpolate(mask[:, None].float(), grid, mode="nearest-exact")[:, 0]  # (B, h, w)
        sums, counts = torch.zeros(3, device=mask.device), torch.zeros(3, device=mask.device)
        for y, x in self.offsets:
            affinity = pair_affinity(*pairs(embedding, y, x))
            one, other = pairs(labels, y, x)
            known = (one != IGNORE) & (other != IGNORE)
            same = known & (one == other)
            kinds = torch.stack((same & (one == 0), same & (one > 0), known & (one != other)))  # (3, B, h', w')
            likely = (affinity + EPSILON).log()
            unlikely = (1 + EPSILON - affinity).log()
            losses = -torch.stack((likely, likely, unlikely))
            sums = sums + (losses * kinds).sum((1, 2, 3))
            counts = counts + kinds.sum((1, 2, 3))
        means = sums / mean_over_processes(counts).clamp_min(1)
        return {name: share * mean for (name, share), mean in zip(SHARES.items(), means.unbind(), strict=True)}


@torch.no_grad()
def carry(
    net: nn.Module, pixels: Tensor, cams: Tensor, precision: Precision, stride: int, radius: int, power: float, steps: int
) -> Tensor:
    """CAMs after a random walk along affinities.

    Args:
        net: see `AffinityStep`, in evaluation mode.
        pixels: the image at the network's input, (3, H, W) uint8.
        cams: (K, height, width), of any size.
        precision: precision of the network.
        stride, radius: see `AffinityStep`.
        power: exponent of affinities.
        steps: number of steps of the walk.

    Returns:
        (K, height, width) float32.
    """
    grid = grid_of((pixels.shape[-2], pixels.shape[-1]), stride)
    with precision.autocast():
        embedding = net(to_device(pixels, precision.device).float()[None] / 255)
    embedding = F.adaptive_avg_pool2d(embedding.float(), grid)[0]
    offsets = disc_offsets(radius)
    weights = affinity_weights(embedding, offsets, power)
    maps = F.adaptive_avg_pool2d(to_device(cams, precision.device), grid)
    spread = walk(maps, weights, [*offsets, (0, 0)], steps)
    return F.interpolate(spread[None], cams.shape[-2:], mode="bilinear")[0]
