"""Locality fusion cross attention (LFCA): the transformer's tokens attend to the denoiser's features."""

import torch.nn.functional as F
from timm.layers import DropPath
from torch import Tensor, nn


class ResidualBlock(nn.Module):
    """Fuses the denoiser's features of all steps: two 3x3 convolutions and a 1x1 shortcut.

    In guidance mode "shared" all steps have the same features, given once. The weights are then summed over the steps, which
    is equal to convolving the repeated features.
    """

    def __init__(self, in_channels: int, channels: int):
        super().__init__()
        self.convbnrelu1 = nn.Sequential(
            nn.Conv2d(in_channels, channels, 3, padding=1, bias=False), nn.GroupNorm(1, channels), nn.ReLU()
        )
        self.convbn2 = nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.GroupNorm(1, channels))
        self.branch = nn.Conv2d(in_channels, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, h, w), or (B, C_in / steps, h, w) for shared features -> (B, C_out, h, w), non-negative."""
        conv, *rest = self.convbnrelu1
        hidden = F.conv2d(x, summed_over_steps(conv.get_parameter("weight"), x.shape[1]), padding=1)
        for layer in (*rest, *self.convbn2):
            hidden = layer(hidden)
        return F.relu(hidden + F.conv2d(x, summed_over_steps(self.branch.weight, x.shape[1])))


def summed_over_steps(weight: Tensor, channels: int) -> Tensor:
    """Convolution weights (C_out, steps * channels, …) summed over steps: (C_out, channels, …)."""
    return weight if weight.shape[1] == channels else weight.unflatten(1, (-1, channels)).sum(1)


class LFCA(nn.Module):
    """One cross-attention layer between transformer queries and denoiser features.

    Args:
        num_classes: number of class tokens, C.
        embed_dim: width of the transformer's tokens, D.
        feature_channels: channels of the denoiser's features over all steps.
        channels: width of the fused features, K.
        num_heads: attention heads; must divide `embed_dim` and `channels`.
        drop_path: stochastic-depth rate of the two patch residuals.
    """

    def __init__(
        self,
        num_classes: int,
        embed_dim: int,
        feature_channels: int,
        channels: int,
        num_heads: int = 8,
        drop_path: float = 0.1,
    ):
        super().__init__()
        self.num_classes = num_classes
        self.num_heads = num_heads
        self.diff_init = ResidualBlock(feature_channels, channels)
        self.norm_k = nn.LayerNorm(embed_dim, eps=1e-6)
        self.norm_v = nn.LayerNorm(channels, eps=1e-6)
        self.norm_p1 = nn.GroupNorm(1, channels, eps=1e-6)
        self.norm_c1 = nn.LayerNorm(embed_dim, eps=1e-6)
        self.query = nn.Linear(embed_dim, embed_dim)
        self.key = nn.Conv2d(channels, embed_dim, 1)
        self.value = nn.Conv2d(channels, channels, 3, padding=1)
        self.mlp_c0 = nn.Linear(channels, embed_dim)
        self.mlp_p0 = nn.Conv2d(channels, channels, 3, padding=1)
        self.mlp_c1 = nn.Sequential(nn.Linear(embed_dim, 4 * embed_dim), nn.GELU(), nn.Linear(4 * embed_dim, embed_dim))
        self.mlp_p1 = nn.Sequential(nn.Conv2d(channels, 4 * channels, 1), nn.GELU(), nn.Conv2d(4 * channels, channels, 1))
        self.drop_path = DropPath(drop_path)

    def forward(self, queries: Tensor, grid: tuple[int, int], features: Tensor) -> tuple[Tensor, Tensor]:
        """Args:
            queries: (B, C + h * w, D) of a transformer block; detached by the caller.
            grid: the transformer's patch grid (h, w).
            features: (B, F, h', w') of the denoiser; (B, F / steps, h', w') in guidance mode "shared".

        Returns:
            class tokens (B, C, D) and patches (B, K, h', w').
        """
        C, (h, w) = self.num_classes, grid
        kv = self.diff_init(features)  # (B, K, h', w')
        attended = self.cross_attention(queries, kv)  # (B, C + N, K)

        class_tokens = self.mlp_c0(attended[:, :C]) + queries[:, :C]  # (B, C, D)
        class_tokens = class_tokens + self.mlp_c1(self.norm_c1(class_tokens))

        patches = attended[:, C:].transpose(1, 2).unflatten(2, (h, w))  # (B, K, h, w)
        patches = self.mlp_p0(patches)
        if patches.shape[-2:] != kv.shape[-2:]:
            patches = F.interpolate(patches, kv.shape[-2:], mode="bilinear")
        patches = kv + self.drop_path(patches)  # (B, K, h', w')
        patches = patches + self.drop_path(self.mlp_p1(self.norm_p1(patches)))
        return class_tokens, patches

    def cross_attention(self, queries: Tensor, kv: Tensor) -> Tensor:
        """Queries (B, L, D) attend to the fused features (B, K, h', w'): (B, L, K)."""
        q = self.norm_k(self.query(queries))  # (B, L, D)
        k = self.norm_k(self.key(kv).flatten(2).transpose(1, 2))  # (B, h'w', D)
        v = self.norm_v(self.value(kv).flatten(2).transpose(1, 2))  # (B, h'w', K)
        q, k, v = (t.unflatten(2, (self.num_heads, -1)).transpose(1, 2) for t in (q, k, v))
        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
