"""The denoiser's U-Net, with the parameter names of `denoising-diffusion-pytorch` 1.8.

Four levels of two residual blocks and one attention each; https://arxiv.org/abs/2006.11239.
"""

import math
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

WIDTHS = (1, 2, 4, 8)
"""Channels of the levels, in multiples of `dim`."""
HEADS, HEAD_DIM = 4, 32


class RMSNorm(nn.Module):
    """Scales each pixel's channel vector to length sqrt(channels), times a learned gain."""

    def __init__(self, channels: int):
        super().__init__()
        self.g = nn.Parameter(torch.ones(1, channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        # The result of F.normalize, which is slow over channels on CPUs.
        length = x.square().sum(1, keepdim=True).sqrt().clamp_min(1e-12)
        return x * (self.g * x.shape[1] ** 0.5 / length)


class SinusoidalEmbedding(nn.Module):
    """Sines and cosines of the step at frequencies from 1 down to 1/10000."""

    def __init__(self, dim: int):
        super().__init__()
        self.dim = dim

    def forward(self, step: Tensor) -> Tensor:
        """(B,) integers -> (B, dim) float32."""
        half = self.dim // 2
        frequency = torch.exp(torch.arange(half, device=step.device) * -(math.log(10000) / (half - 1)))
        angle = step[:, None] * frequency
        return torch.cat((angle.sin(), angle.cos()), dim=-1)


class ConvBlock(nn.Module):
    """3x3 convolution, GroupNorm, optional scale and shift, SiLU."""

    def __init__(self, in_channels: int, channels: int):
        super().__init__()
        self.proj = nn.Conv2d(in_channels, channels, 3, padding=1)
        self.norm = nn.GroupNorm(8, channels)

    def forward(self, x: Tensor, scale_shift: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """(B, C_in, H, W) -> (B, C_out, H, W)."""
        x = self.norm(self.proj(x))
        if scale_shift is not None:
            scale, shift = scale_shift
            x = x * (scale + 1) + shift
        return F.silu(x)


class ResidualBlock(nn.Module):
    """Two convolution blocks, the first modulated by the time embedding, beside a shortcut."""

    def __init__(self, in_channels: int, channels: int, time_dim: int):
        super().__init__()
        self.mlp = nn.Sequential(nn.SiLU(), nn.Linear(time_dim, 2 * channels))
        self.block1 = ConvBlock(in_channels, channels)
        self.block2 = ConvBlock(channels, channels)
        self.res_conv = nn.Conv2d(in_channels, channels, 1) if in_channels != channels else nn.Identity()

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """x (B, C_in, H, W), time (B, time_dim) -> (B, C_out, H, W)."""
        scale_shift = self.mlp(time)[:, :, None, None].chunk(2, dim=1)
        return self.block2(self.block1(x, scale_shift)) + self.res_conv(x)


class LinearAttention(nn.Module):
    """Attention whose cost is linear in the number of pixels (https://arxiv.org/abs/1812.01243)."""

    def __init__(self, channels: int):
        super().__init__()
        self.norm = RMSNorm(channels)
        self.to_qkv = nn.Conv2d(channels, 3 * HEADS * HEAD_DIM, 1, bias=False)
        self.to_out = nn.Sequential(nn.Conv2d(HEADS * HEAD_DIM, channels, 1), RMSNorm(channels))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W), without the residual."""
        B, C, H, W = x.shape
        x = self.norm(x).flatten(2)  # (B, C, HW)
        to_q, to_k, to_v = self.to_qkv.weight.flatten(1).chunk(3)  # (heads * d, C) each
        to_out, norm = cast(nn.Conv2d, self.to_out[0]), self.to_out[1]
        q = torch.bmm(to_q.expand(B, -1, -1), x).view(B, HEADS, HEAD_DIM, H * W).softmax(dim=2) * HEAD_DIM**-0.5
        k = torch.bmm(to_k.expand(B, -1, -1), x).softmax(dim=-1)  # (B, heads * d, HW)

        # The order of products is chosen so that values and attended pixels (B, heads * d, HW) are never formed.
        context = (k @ x.transpose(1, 2)).view(B, HEADS, HEAD_DIM, C) @ to_v.view(HEADS, HEAD_DIM, C).transpose(1, 2)
        from_q = to_out.weight.view(C, HEADS, HEAD_DIM).transpose(0, 1) @ context.transpose(2, 3)  # (B, heads, C, d)
        bias = cast(Tensor, to_out.bias)
        out = torch.baddbmm(bias[:, None], from_q.transpose(1, 2).flatten(2), q.flatten(1, 2))  # (B, C, HW)
        return norm(out.view(B, C, H, W))


class Attention(nn.Module):
    """Softmax attention over all pixels."""

    def __init__(self, channels: int):
        super().__init__()
        self.norm = RMSNorm(channels)
        self.to_qkv = nn.Conv2d(channels, 3 * HEADS * HEAD_DIM, 1, bias=False)
        self.to_out = nn.Conv2d(HEADS * HEAD_DIM, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W), without the residual."""
        B, _, H, W = x.shape
        q, k, v = self.to_qkv(self.norm(x)).view(B, 3, HEADS, HEAD_DIM, H * W).transpose(-2, -1).unbind(1)
        out = F.scaled_dot_product_attention(q, k, v)  # (B, heads, HW, d)
        return self.to_out(out.transpose(-2, -1).reshape(B, -1, H, W))


def downsample(in_channels: int, channels: int) -> nn.Module:
    """Halves the resolution: stacks the pixels of each 2x2 square as channels, then applies a 1x1 convolution."""
    return nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(4 * in_channels, channels, 1))


class Upsample(nn.Sequential):
    """Nearest-neighbour upsampling by 2, then a 3x3 convolution; computed on the small grid with 4/9 of the products.

    After upsampling, two of the three rows under a kernel are equal: the lower two for an even output row, the upper two
    for an odd one. The kernel rows over equal pixels are summed; columns likewise.
    """

    def __init__(self, in_channels: int, channels: int):
        super().__init__(nn.Upsample(scale_factor=2, mode="nearest"), nn.Conv2d(in_channels, channels, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, H, W) -> (B, C_out, 2 H, 2 W)."""
        _, _, H, W = x.shape
        conv = cast(nn.Conv2d, self[1])
        weight, bias = conv.weight, cast(Tensor, conv.bias)
        small = merged_taps(merged_taps(weight, -1), -2)  # (2 rows, 2 columns, C_out, C_in, 2, 2)
        y = F.conv2d(F.pad(x, (1, 1, 1, 1)), small.flatten(0, 2), bias.repeat(4)).unflatten(1, (2, 2, -1))
        rows = [torch.stack([y[:, p, q, :, p : p + H, q : q + W] for q in (0, 1)], -1) for p in (0, 1)]  # (…, H, W, 2)
        return torch.stack(rows, -3).flatten(-2).flatten(-3, -2)


def merged_taps(weight: Tensor, dim: int) -> Tensor:
    """Sums kernel weights over equal pixels, for even and odd output positions: (…, 3, …) -> (2, …, 2, …)."""
    first, second, third = weight.unbind(dim)
    return torch.stack((torch.stack((first, second + third), dim), torch.stack((first + second, third), dim)))


class UNet(nn.Module):
    """Predicts "v" from a noisy image and its diffusion step; its intermediate features guide DiG.

    Args:
        dim: width of the first level in channels; a multiple of 8.
        grad_checkpoint: recompute activations of blocks and attention in the backward pass: less memory, the same result.
    """

    reduction = 2 ** (len(WIDTHS) - 1)
    """Total downsampling factor: height and width of an image must be multiples of it."""

    def __init__(self, dim: int = 64, grad_checkpoint: bool = False):
        super().__init__()
        if dim % 8:
            raise ValueError(f"the denoiser's width must be a multiple of 8, got {dim}")
        self.dim = dim
        self.grad_checkpoint = grad_checkpoint
        channels = [dim, *(dim * width for width in WIDTHS)]
        levels = list(pairwise(channels))  # (in, out) of each level, top to bottom
        bottom, last = channels[-1], len(levels) - 1
        time_dim = 4 * dim

        self.init_conv = nn.Conv2d(3, dim, 7, padding=3)
        self.time_mlp = nn.Sequential(
            SinusoidalEmbedding(dim), nn.Linear(dim, time_dim), nn.GELU(), nn.Linear(time_dim, time_dim)
        )
        self.downs = nn.ModuleList()
        self.ups = nn.ModuleList()
        for i, (above, below) in enumerate(levels):
            attention = Attention if i == last else LinearAttention
            down = nn.Conv2d(above, below, 3, padding=1) if i == last else downsample(above, below)
            self.downs.append(
                nn.ModuleList(
                    [ResidualBlock(above, above, time_dim), ResidualBlock(above, above, time_dim), attention(above), down]
                )
            )
        for i, (above, below) in reversed(list(enumerate(levels))):
            attention = Attention if i == last else LinearAttention
            both = above + below  # the level's input and the skip connection
            up = nn.Conv2d(below, above, 3, padding=1) if i == 0 else Upsample(below, above)
            self.ups.append(
                nn.ModuleList(
                    [ResidualBlock(both, below, time_dim), ResidualBlock(both, below, time_dim), attention(below), up]
                )
            )
        self.mid_block1 = ResidualBlock(bottom, bottom, time_dim)
        self.mid_attn = Attention(bottom)
        self.mid_block2 = ResidualBlock(bottom, bottom, time_dim)
        self.final_res_block = ResidualBlock(2 * dim, dim, time_dim)
        self.final_conv = nn.Conv2d(dim, 3, 1)

    @property
    def feature_channels(self) -> int:
        """Total channels of the feature maps of one step."""
        return sum(self.dim * width for width in (*WIDTHS, 1))

    def forward(self, x: Tensor, step: Tensor) -> Tensor:
        """Args:
            x: (B, 3, H, W) noisy image; H and W multiples of 8.
            step: (B,) integers.

        Returns:
            (B, 3, H, W) predicted v.
        """
        stem, time = self.init_conv(x), self.time_mlp(step)
        *_, top = self.feature_maps(stem, time)
        return self.final_conv(self.run(joined, self.final_res_block, top, stem, time))

    def compile_passes(self) -> None:
        """Compiles `forward` and `features`, each at its first call."""
        self.forward = torch.compile(self.forward)  # type: ignore[method-assign]
        self.features = torch.compile(self.features)  # type: ignore[method-assign]

    def features(self, x: Tensor, step: Tensor) -> list[Tensor]:
        """The five feature maps that guide DiG, from the second middle block and from each upsampling layer.

        Takes the arguments of `forward`; the output head is not computed.
        """
        return list(self.feature_maps(self.init_conv(x), self.time_mlp(step)))

    def feature_maps(self, x: Tensor, time: Tensor) -> Iterator[Tensor]:
        """Runs the U-Net between stem and head; yields (B, C_i, H_i, W_i) from the lowest resolution to the highest."""
        skips = []
        for level in self.downs:
            block1, block2, attention, down = cast(nn.ModuleList, level)
            x = self.run(block1, x, time)
            skips.append(x)
            x = self.run(block2, x, time)
            x = self.run(attention, x) + x
            skips.append(x)
            x = down(x)

        x = self.run(self.mid_block1, x, time)
        x = self.run(self.mid_attn, x) + x
        x = self.run(self.mid_block2, x, time)
        yield x

        for level in self.ups:
            block1, block2, attention, up = cast(nn.ModuleList, level)
            x = self.run(joined, block1, x, skips.pop(), time)
            x = self.run(joined, block2, x, skips.pop(), time)
            x = up(self.run(attention, x) + x)
            yield x

    def run(self, part: Callable, *inputs: object) -> Tensor:
        """Runs a part of the network, with activation checkpointing where it is switched on."""
        if self.grad_checkpoint and torch.is_grad_enabled():
            return checkpoint(part, *inputs, use_reentrant=False)
        return part(*inputs)


def joined(block: nn.Module, x: Tensor, skip: Tensor, time: Tensor) -> Tensor:
    """Runs a residual block on a level's input concatenated with the skip connection."""
    return block(torch.cat((x, skip), dim=1), time)
