"""The frozen denoiser as DiG's guide: semantic features of a noised image, and its denoised version."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .gaussian import GaussianDiffusion

GUIDANCE_MODES = ("exact", "shared")


class GuidanceOutput(NamedTuple):
    """What the denoiser contributes to one training step."""

    features: Tensor  # (B, steps * K, H / stride, W / stride); (B, K, …) in mode "shared"
    denoised: Tensor  # (B, 3, H, W) in image range, about [0, 1]; not clamped, not ImageNet-normalised


class Guidance(nn.Module):
    """Extracts guidance from a denoiser that never learns.

    Args:
        denoiser: frozen here, and kept in evaluation mode.
        feature_steps: diffusion steps whose features are concatenated, in this order.
        image_step: step from which the image is denoised in one shot.
        mode: "exact" runs the denoiser once for each feature step, as published; "shared" runs it only at the middle step
            and uses these features for all steps, whose noise levels are close.
        stride: stride of the feature grid in pixels: the transformer's patch size.
        size: side in pixels, a multiple of 8, that images are resized to for the denoiser; the denoised image is resized
            back. 0: no resizing, as published.
    """

    def __init__(
        self,
        denoiser: GaussianDiffusion,
        feature_steps: Sequence[int] = (0, 1, 2, 3, 4),
        image_step: int = 100,
        mode: str = "exact",
        stride: int = 16,
        size: int = 0,
    ):
        super().__init__()
        if mode not in GUIDANCE_MODES:
            raise ValueError(f"guidance mode must be one of {', '.join(GUIDANCE_MODES)}, got {mode!r}")
        for step in (*feature_steps, image_step):
            if not 0 <= step < denoiser.num_steps:
                raise ValueError(f"diffusion step must be in 0 .. {denoiser.num_steps - 1}, got {step}")
        if len({*feature_steps, image_step}) < len(feature_steps) + 1 or not feature_steps:
            raise ValueError("feature steps must be at least one, all different, and other than the image step")
        self.denoiser = denoiser.requires_grad_(False).eval()
        self.feature_steps = tuple(feature_steps) if mode == "exact" else (feature_steps[len(feature_steps) // 2],)
        self.image_step = image_step
        self.stride = stride
        self.size = size

    def compile_denoiser(self) -> None:
        """Compiles the denoiser with torch.compile, at its first passes."""
        self.denoiser.model.compile_passes()

    def train(self, mode: bool = True) -> "Guidance":
        """Stays in evaluation mode, also when the enclosing module trains."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, image01: Tensor, noise: Mapping[int, Tensor] | None = None) -> GuidanceOutput:
        """Args:
        image01: (B, 3, H, W) in [0, 1]; H and W multiples of 8.
        noise: standard normal (B, *noise_shape(image01)) by diffusion step; None draws it.
        """
        return GuidanceOutput(self.features(image01, noise), self.denoised(image01, noise))

    @torch.no_grad()
    def features(self, image01: Tensor, noise: Mapping[int, Tensor] | None = None) -> Tensor:
        """Only the features of `forward`."""
        grid = (image01.shape[-2] // self.stride, image01.shape[-1] // self.stride)
        features = []
        for t in self.feature_steps:
            x, step = self.noised(image01, t, noise)
            maps = self.denoiser.model.features(x, step)
            features += [F.interpolate(m, grid, mode="bilinear", align_corners=True) for m in maps]
        return torch.cat(features, dim=1)

    @torch.no_grad()
    def denoised(self, image01: Tensor, noise: Mapping[int, Tensor] | None = None) -> Tensor:
        """Only the denoised image of `forward`."""
        x, step = self.noised(image01, self.image_step, noise)
        image = (self.denoiser.image_from_v(x, step, self.denoiser.model(x, step)) + 1) / 2
        return F.interpolate(image, image01.shape[-2:], mode="bilinear") if self.size else image

    def noise_shape(self, image01: Tensor) -> tuple[int, int, int]:
        """Shape (3, h, w) of an image at the denoiser's input, and so of its noise."""
        height, width = image01.shape[-2:]
        return (3, self.size, self.size) if self.size else (3, height, width)

    def noised(self, image01: Tensor, t: int, noise: Mapping[int, Tensor] | None) -> tuple[Tensor, Tensor]:
        """The image (B, 3, h, w) in [-1, 1] at the denoiser's size with the noise of step t, and the step as (B,)."""
        if self.size:
            image01 = F.interpolate(image01, (self.size, self.size), mode="bilinear", antialias=True)
        x0 = image01 * 2 - 1
        step = torch.full((len(x0),), t, device=x0.device)
        return self.denoiser.add_noise(x0, step, torch.randn_like(x0) if noise is None else noise[t]), step
