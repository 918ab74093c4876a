"""Mimetic initialisation: attention weights start with the structure of trained ones (https://arxiv.org/abs/2305.09828).

In trained transformers the query-key product is close to a positive multiple of the identity (a token attends to similar
tokens), and the value-projection product to a negative one. A transformer initialised like this needs less data. DiG also
refines CAMs with patch attention, which after training from scratch on few images would show no affinity of similar patches.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from .attention import LocalizingAttention, attention_of
from .vit import MultiClassTokenViT

QUERY_KEY = 0.7
VALUE_PROJECTION = 0.4
"""Scales of the identity, and of the noise added to it, as published."""


@torch.no_grad()
def init_mimetic(net: MultiClassTokenViT) -> None:
    """Overwrites the attention weights and the patch positions of a network; the rest keeps its values."""
    D = net.embed_dim
    for block in net.blocks:
        attention = attention_of(block)
        query, key, value = projections(attention)
        d = D // attention.num_heads
        for rows in range(0, D, d):  # of a head
            left, right = factors(QUERY_KEY, D, query)
            query[rows : rows + d], key[rows : rows + d] = left[:, :d].T, right[:, :d].T
        left, right = factors(-VALUE_PROJECTION, D, value)
        attention.proj.weight.copy_(left)
        value.copy_(right.T)
    if net.pos_embed is not None:
        net.pos_embed[0, net.num_positions_before_patches :] = sinusoidal_positions(net.grid_size, D)


def projections(attention: LocalizingAttention) -> Sequence[Tensor]:
    """Weight matrices of queries, keys and values, views of (D, D) each to be changed in place."""
    if attention.qkv is None:
        return attention.q_proj.weight, attention.k_proj.weight, attention.v_proj.weight
    return attention.qkv.weight.chunk(3)


def factors(identity: float, size: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Two (size, size) matrices with left @ right.T = identity * I + noise; columns by descending singular value."""
    noise = torch.randn(size, size, dtype=like.dtype, device=like.device) / size**0.5
    left, strength, right = torch.linalg.svd(abs(identity) * noise + identity * torch.eye(size, device=like.device))
    root = strength.sqrt()
    return left * root, right.T * root


def sinusoidal_positions(grid: int, width: int) -> Tensor:
    """2-D sine-cosine position embedding, (grid * grid, width): half of the channels for the row, half for the column."""
    frequency = 10000 ** -(torch.arange(width // 4) / (width // 4))
    place = torch.arange(grid)[:, None] * frequency  # (grid, width / 4)
    waves = torch.cat((place.sin(), place.cos()), dim=1)  # (grid, width / 2)
    rows, columns = waves[:, None].expand(-1, grid, -1), waves[None].expand(grid, -1, -1)
    return torch.cat((rows, columns), dim=2).flatten(0, 1)
