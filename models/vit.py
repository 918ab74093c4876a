"""Multi-class-token vision transformer: one class token for every object class.

A DeiT whose single class token is repeated once per class, so that the attention of class token c over the patches is a
localisation map of class c (MCTformer, https://arxiv.org/abs/2203.02891).
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from timm.layers import DropPath, Mlp, trunc_normal_
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from .stem import ConvStem

QUERY_ROWS = 256
"""Tokens whose attention is computed at a time. A training image has fewer, a photograph of 1000 x 750 pixels 2900."""


class ViTOutput(NamedTuple):
    """What the transformer gives to its heads and to LFCA."""

    class_tokens: Tensor  # (B, C, D) after the last block, without a final norm
    patch_tokens: Tensor  # (B, D, h, w)
    attention: Tensor  # (B, C + N, N) paid to the patches: mean over heads, sum over blocks
    queries: tuple[Tensor, Tensor]  # of the last block and of the one before it, (B, C + N, D) each


class PatchEmbed(nn.Module):
    """Non-overlapping patches, projected linearly. A rest smaller than one patch is left out at the right and bottom."""

    def __init__(self, patch_size: int, embed_dim: int):
        super().__init__()
        self.proj = nn.Conv2d(3, embed_dim, patch_size, patch_size)

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, D, h, w)."""
        return self.proj(image)


class Attention(nn.Module):
    """Multi-head self-attention that also hands out its attention matrix and its queries.

    Heads are averaged a few rows at a time, so that the matrices of all heads are never there at once.
    """

    def __init__(self, dim: int, num_heads: int):
        super().__init__()
        self.num_heads = num_heads
        self.scale = (dim // num_heads) ** -0.5
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.attend = attend

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Args:
            x: (B, L, D) tokens.

        Returns:
            output (B, L, D), attention averaged over heads (B, L, L), and queries (B, L, D).
        """
        B, L, D = x.shape
        qkv = self.qkv(x)  # (B, L, 3D)
        q, k, v = qkv.view(B, L, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)  # (B, heads, L, D / heads) each
        k, v = k.transpose(-2, -1).contiguous(), v.contiguous()
        parts = [self.attend(rows, k, v) for rows in (q * self.scale).split(QUERY_ROWS, dim=2)]
        out, attention = zip(*parts, strict=True)
        out = torch.cat(out, dim=2).transpose(1, 2).reshape(B, L, D)
        return self.proj(out), torch.cat(attention, dim=1), qkv[..., :D]


def attend(queries: Tensor, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Attention of some tokens to all.

    Args:
        queries: (B, heads, rows, d), scaled.
        keys: (B, heads, d, L).
        values: (B, heads, L, d).

    Returns:
        what each head gathers (B, heads, rows, d), and the attention averaged over heads (B, rows, L).
    """
    attention = (queries @ keys).softmax(dim=-1)  # (B, heads, rows, L)
    return attention @ values, attention.mean(dim=1)


class Block(nn.Module):
    """Pre-norm transformer block with stochastic depth."""

    def __init__(self, dim: int, num_heads: int, mlp_ratio: float, drop_path: float):
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = Attention(dim, num_heads)
        self.drop_path = DropPath(drop_path)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = Mlp(dim, int(dim * mlp_ratio))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, L, D) -> tokens (B, L, D), attention (B, L, L), queries (B, L, D)."""
        out, attention, queries = self.attn(self.norm1(x))
        x = x + self.drop_path(out)
        x = x + self.drop_path(self.mlp(self.norm2(x)))
        return x, attention, queries


class MultiClassTokenViT(nn.Module):
    """The transformer shared by every branch of DiG.

    Args:
        num_classes: number of class tokens, C.
        image_size: side in pixels of the square training images; sets the grid that `pos_embed` is stored for.
        patch_size: side of a patch in pixels.
        embed_dim: token width, D.
        depth: number of blocks, at least 2.
        num_heads: attention heads; must divide `embed_dim`.
        mlp_ratio: hidden width of the MLPs over `embed_dim`.
        drop_path: stochastic-depth rate of the last block; rises linearly from 0.
        grad_checkpoint: compute activations again in the backward pass instead of keeping them.
        stem: convolutional trunk of timm in the place of the patch embedding (`ConvStem`); empty: none.
        stem_levels: its stages whose features are used; empty: the deepest.
    """

    def __init__(
        self,
        num_classes: int = 20,
        image_size: int = 224,
        patch_size: int = 16,
        embed_dim: int = 384,
        depth: int = 12,
        num_heads: int = 6,
        mlp_ratio: float = 4.0,
        drop_path: float = 0.1,
        grad_checkpoint: bool = False,
        stem: str = "",
        stem_levels: tuple[int, ...] = (),
    ):
        super().__init__()
        if image_size % patch_size:
            raise ValueError(f"image size {image_size} is not a multiple of the patch size {patch_size}")
        if embed_dim % num_heads:
            raise ValueError(f"embedding width {embed_dim} is not a multiple of the number of heads {num_heads}")
        if depth < 2:
            raise ValueError(f"depth must be at least 2, got {depth}")
        self.num_classes = num_classes
        self.patch_size = patch_size
        self.embed_dim = embed_dim
        self.grid_size = image_size // patch_size
        self.grad_checkpoint = grad_checkpoint

        self.patch_embed = ConvStem(stem, patch_size, embed_dim, stem_levels) if stem else PatchEmbed(patch_size, embed_dim)
        self.cls_token = nn.Parameter(torch.zeros(1, num_classes, embed_dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, num_classes + self.grid_size**2, embed_dim))
        rates = [drop_path * i / (depth - 1) for i in range(depth)]
        self.blocks = nn.ModuleList([Block(embed_dim, num_heads, mlp_ratio, rate) for rate in rates])
        # Part of every published checkpoint, yet no output passes through it: kept for the name, never trained.
        self.norm = nn.LayerNorm(embed_dim, eps=1e-6).requires_grad_(False)

        trunc_normal_(self.cls_token, std=0.02)
        trunc_normal_(self.pos_embed, std=0.02)
        self.blocks.apply(init_linear)

    def forward_tokens(self, image: Tensor) -> ViTOutput:
        """Runs the transformer on an ImageNet-normalised image (B, 3, H, W), each side at least one patch."""
        C = self.num_classes
        patches = self.patch_embed(image)  # (B, D, h, w)
        B, D, h, w = patches.shape
        x = torch.cat((self.cls_token.expand(B, -1, -1), patches.flatten(2).transpose(1, 2)), dim=1)
        x = x + self.position_embedding(h, w)  # (B, C + N, D)

        attention_sum, queries = 0.0, []
        for block in self.blocks:
            x, attention, q = self.run(block, x)
            attention_sum = attention_sum + attention[:, :, C:]
            queries = [*queries[-1:], q]  # only the last two are ever needed
        patch_tokens = x[:, C:].transpose(1, 2).reshape(B, D, h, w)
        return ViTOutput(x[:, :C], patch_tokens, attention_sum, (queries[1], queries[0]))

    def run(self, module: nn.Module, *inputs: object):
        """What a part of the network makes of its inputs, its activations kept or not."""
        if self.grad_checkpoint and torch.is_grad_enabled():
            return checkpoint(module, *inputs, use_reentrant=False)
        return module(*inputs)

    def compile_blocks(self) -> None:
        """Has torch.compile translate attention and MLP: all blocks share what is made of the first."""
        compiled = torch.compile(attend)
        for block in self.blocks:
            block.attn.attend = compiled
            block.mlp.compile()

    def position_embedding(self, h: int, w: int) -> Tensor:
        """Position embedding for a patch grid of h x w: (1, C + h * w, D)."""
        g = self.grid_size
        if (h, w) == (g, g):
            return self.pos_embed
        class_position, patch_position = self.pos_embed.split((self.num_classes, g * g), dim=1)
        # The + 0.1 keeps floor(g * scale) at h and w; it also shifts the sampling points, so it belongs to the result.
        patch_position = F.interpolate(
            patch_position.reshape(1, g, g, -1).permute(0, 3, 1, 2),
            scale_factor=((h + 0.1) / g, (w + 0.1) / g),
            mode="bicubic",
        )
        return torch.cat((class_position, patch_position.flatten(2).transpose(1, 2)), dim=1)


def init_linear(module: nn.Module) -> None:
    """DeiT's initialisation of a linear layer; other modules keep PyTorch's."""
    if isinstance(module, nn.Linear):
        trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
