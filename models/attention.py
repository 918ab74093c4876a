"""Self-attention that also returns its attention matrix and its queries, built from any attention layer of timm."""

from collections.abc import Callable, Sequence
from typing import cast

import torch
import torch.nn.functional as F
from timm.layers import Attention, AttentionRope, apply_rot_embed_cat
from timm.models.eva import EvaAttention
from torch import Tensor, nn

QUERY_ROWS = 256
"""Queries processed at a time. A training image has fewer tokens; a photograph of 1000 x 750 pixels has 2900."""

TimmAttention = Attention | AttentionRope | EvaAttention
"""Attention layers of timm that `LocalizingAttention` can replace."""

LAYERS = ("qkv", "q_proj", "k_proj", "v_proj", "q_norm", "k_norm", "norm", "gate", "proj")
BIASES = ("q_bias", "v_bias")


class LocalizingAttention(nn.Module):
    """Multi-head self-attention that keeps its attention matrix and queries until `localize` collects them.

    Attention is averaged over heads for `QUERY_ROWS` queries at a time, so that no (heads, L, L) tensor is held in memory.

    Args:
        theirs: timm's attention layer, whose parameters this one takes over under the same names.
        num_prefix_tokens: tokens before the patches, to which rotary positions do not apply.
    """

    query_rows = QUERY_ROWS
    qkv: nn.Linear | None
    q_proj: nn.Linear  # these three only where there is no `qkv`
    k_proj: nn.Linear
    v_proj: nn.Linear
    q_bias: nn.Parameter | None
    v_bias: nn.Parameter  # where there is a `q_bias`
    q_norm: nn.Module | None
    k_norm: nn.Module  # where there is a `q_norm`
    norm: nn.Module | None
    gate: nn.Module | None
    proj: nn.Linear

    def __init__(self, theirs: TimmAttention, num_prefix_tokens: int):
        super().__init__()
        for name in LAYERS:
            self.add_module(name, getattr(theirs, name, None))
        for name in BIASES:
            self.register_parameter(name, getattr(theirs, name, None))
        self.num_heads = theirs.num_heads
        self.scale = theirs.scale
        self.num_prefix_tokens = num_prefix_tokens
        self.rotate_half = getattr(theirs, "rotate_half", False)
        self.attend: Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]] = attend
        self.kept: tuple[Tensor, Tensor] | None = None

    def forward(self, x: Tensor, rope: Tensor | None = None, **_masks: object) -> Tensor:
        """Args:
            x: (B, L, D) tokens.
            rope: rotary positions of the patches, sines and cosines, (N, 2 d) or (heads, N, 2 d).
            _masks: further arguments that timm's blocks pass; unused.

        Returns:
            (B, L, D).
        """
        B, L, D = x.shape
        queries, *keys_values = self.project(x)  # (B, L, D) each
        q, k, v = (t.view(B, L, self.num_heads, -1).transpose(1, 2) for t in (queries, *keys_values))  # (B, heads, L, d)
        if self.q_norm is not None:
            q, k = self.q_norm(q), self.k_norm(k)
        if rope is not None:
            q, k = self.rotate(q, rope).type_as(v), self.rotate(k, rope).type_as(v)
        k, v = k.transpose(-2, -1).contiguous(), v.contiguous()
        parts = [self.attend(rows, k, v) for rows in (q * self.scale).split(self.query_rows, dim=2)]
        attended, attention = zip(*parts, strict=True)
        self.kept = torch.cat(attention, dim=1), queries
        out = torch.cat(attended, dim=2).transpose(1, 2).reshape(B, L, D)
        if self.norm is not None:
            out = self.norm(out)
        if self.gate is not None:
            out = out * self.gate(x).sigmoid()
        return self.proj(out)

    def project(self, x: Tensor) -> Sequence[Tensor]:
        """Queries, keys and values of tokens (B, L, D)."""
        if self.qkv is None:
            return self.q_proj(x), self.k_proj(x), self.v_proj(x)
        if self.q_bias is None:
            return self.qkv(x).chunk(3, dim=2)
        bias = torch.cat((self.q_bias, torch.zeros_like(self.q_bias), self.v_bias))  # EVA's keys have no bias
        return F.linear(x, self.qkv.weight, bias).chunk(3, dim=2)

    def rotate(self, x: Tensor, rope: Tensor) -> Tensor:
        """Applies rotary positions to the patches among queries or keys (B, heads, L, d)."""
        prefix, patches = x[:, :, : self.num_prefix_tokens], x[:, :, self.num_prefix_tokens :]
        return torch.cat((prefix, apply_rot_embed_cat(patches, rope, half=self.rotate_half)), dim=2)


def attend(queries: Tensor, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Attention of some queries to all tokens.

    Args:
        queries: (B, heads, rows, d), scaled.
        keys: (B, heads, d, L).
        values: (B, heads, L, d).

    Returns:
        attended values (B, heads, rows, d), and the attention averaged over heads (B, rows, L).
    """
    attention = (queries @ keys).softmax(dim=-1)  # (B, heads, rows, L)
    return attention @ values, attention.mean(dim=1)


def attention_of(block: nn.Module) -> LocalizingAttention:
    """The attention of a block of timm, after it was replaced."""
    return cast(LocalizingAttention, block.attn)


def localize(block: nn.Module, x: Tensor, rope: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Runs a block of timm on tokens (B, L, D) and collects what its `LocalizingAttention` kept.

    Returns:
        tokens (B, L, D), attention averaged over heads (B, L, L), and queries (B, L, D) before norm and rotation.
    """
    layer = attention_of(block)
    try:
        x = block(x) if rope is None else block(x, rope=rope)
        kept = layer.kept
    # Also on an exception: activation checkpointing stops its recomputation early by raising one inside the block.
    finally:
        layer.kept = None
    if kept is None:
        raise RuntimeError(f"{type(block).__name__} did not call its attention")
    return x, *kept
