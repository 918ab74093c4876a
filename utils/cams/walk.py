"""Random walks that refine CAMs: each step replaces a value by the weighted mean of its neighbours' values.

Weights come from colours (pixel-adaptive mask refinement, PAMR: https://arxiv.org/abs/2005.08104), or from affinities that a
network has learnt (PSA: https://arxiv.org/abs/1803.10464). Only neighbours at K fixed offsets have a weight, so the
transition matrix is sparse, and is stored as (K, H, W).
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

Offsets = Sequence[tuple[int, int]]
"""Rows and columns from a pixel to each of its neighbours."""
DILATIONS = (1, 2, 4, 8, 12, 24)
"""PAMR's distances of the eight neighbours of a pixel, in pixels."""
SHARPNESS = 0.1
"""PAMR's unit of colour differences, in local standard deviations."""


def ring_offsets(dilations: Sequence[int] = DILATIONS) -> list[tuple[int, int]]:
    """Offsets of the eight neighbours at each distance."""
    around = [(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1) if (y, x) != (0, 0)]
    return [(d * y, d * x) for d in dilations for y, x in around]


def disc_offsets(radius: int) -> list[tuple[int, int]]:
    """Offsets of all neighbours within a radius."""
    reach = range(-radius, radius + 1)
    return [(y, x) for y in reach for x in reach if 0 < y * y + x * x <= radius * radius]


def neighbours(maps: Tensor, offsets: Offsets) -> Tensor:
    """Values of maps (C, H, W) at each pixel's K neighbours, (K, C, H, W); the edge is repeated beyond the map."""
    reach = max(max(abs(y), abs(x)) for y, x in offsets)
    padded = F.pad(maps[None], (reach,) * 4, mode="replicate")[0]
    height, width = maps.shape[-2:]
    return torch.stack(
        [padded[:, reach + y : reach + y + height, reach + x : reach + x + width] for y, x in offsets]
    )  # fmt: skip


def colour_weights(image01: Tensor, offsets: Offsets) -> Tensor:
    """Weights (K, H, W) of PAMR, which sum to 1: larger for neighbours of similar colour in an image (3, H, W)."""
    around = neighbours(image01, offsets)  # (K, 3, H, W)
    spread = around.std(0)  # (3, H, W)
    distance = (around - image01).abs_() / (SHARPNESS * spread + 1e-8)
    return (-distance.mean(1)).softmax(0)


def affinity_weights(embedding: Tensor, offsets: Offsets, power: float) -> Tensor:
    """Weights (K + 1, H, W) of neighbours and of the pixel itself, which sum to 1: affinities to a power.

    Args:
        embedding: (D, H, W).
        offsets: K neighbours.
        power: makes small affinities smaller.
    """
    inside = neighbours(embedding.new_ones(1, *embedding.shape[-2:]), offsets)[:, 0]
    affinity = pair_affinity(neighbours(embedding, offsets), embedding)  # (K, H, W)
    for row, (y, x) in zip(inside, offsets, strict=True):
        cut_edges(row, y, x)
    weights = torch.cat((affinity.pow(power) * inside, torch.ones_like(affinity[:1])))
    return weights / weights.sum(0)


def pair_affinity(one: Tensor, other: Tensor) -> Tensor:
    """exp(-mean |one - other|) over the channels of two embeddings (..., D, H, W), which is in (0, 1]."""
    return (-(one - other).abs().mean(-3)).exp()


def cut_edges(row: Tensor, y: int, x: int) -> None:
    """Sets a map (H, W) to 0, in place, where the neighbour at an offset lies beyond its edge."""
    height, width = row.shape
    row[max(0, height - y) :] = 0
    row[: max(0, -y)] = 0
    row[:, max(0, width - x) :] = 0
    row[:, : max(0, -x)] = 0


def walk(maps: Tensor, weights: Tensor, offsets: Offsets, steps: int) -> Tensor:
    """Maps (C, H, W) after some steps with weights (K, H, W) of the neighbours at K offsets."""
    for _ in range(steps):
        maps = sum_of_neighbours(maps, weights, offsets)
    return maps


def sum_of_neighbours(maps: Tensor, weights: Tensor, offsets: Offsets) -> Tensor:
    """One step of `walk`, one neighbour at a time to save memory."""
    reach = max(max(abs(y), abs(x)) for y, x in offsets)
    padded = F.pad(maps[None], (reach,) * 4, mode="replicate")[0]
    height, width = maps.shape[-2:]
    total = torch.zeros_like(maps)
    for (y, x), weight in zip(offsets, weights, strict=True):
        total.addcmul_(padded[:, reach + y : reach + y + height, reach + x : reach + x + width], weight)
    return total


def dense_walk(maps: Tensor, attention: Tensor, power: float, steps: int) -> Tensor:
    """Maps (C, h, w) spread along the attention (N, N) of N = h * w patches to each other.

    Args:
        maps: the maps.
        attention: non-negative; it is made symmetric, raised to the power, and its rows are normalised to a sum of 1.
        power: makes small attention smaller.
        steps: number of steps.
    """
    transition = (attention + attention.T).pow(power)
    transition = transition / transition.sum(1, keepdim=True)
    flat = maps.flatten(1).T  # (N, C)
    for _ in range(steps):
        flat = transition @ flat
    return flat.T.unflatten(1, maps.shape[-2:])
