"""Guides in which something else stands in for a part of the denoiser's guidance, to test what that part carries."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from utils.training.seeding import sample_noise

from .guidance import Guidance

MOST_BLUR = 64.0
"""Largest standard deviation of a blur in pixels."""
BATCH = 8


class BlurredImages(Guidance):
    """The denoised images are replaced by a Gaussian blur of equal PSNR; features are the denoiser's.

    Args:
        images: (n, 3, H, W) in [0, 1], on which blurred and denoised images have the same mean PSNR.
        *guidance_options, **guidance_keywords: see `Guidance`.
    """

    def __init__(self, images: Tensor, *guidance_options: Any, **guidance_keywords: Any):
        super().__init__(*guidance_options, **guidance_keywords)
        self.psnr = float(psnr(self.denoised_in_batches(images), images).mean())  # dB
        self.sigma = sigma_of(images, self.psnr)

    @torch.no_grad()
    def denoised(self, image01: Tensor, noise: Mapping[int, Tensor] | None = None) -> Tensor:
        """The blurred images (B, 3, H, W)."""
        return blur(image01, self.sigma)

    def denoised_in_batches(self, images: Tensor) -> Tensor:
        """The denoiser's own images, whose noise has a fixed seed; clipped to [0, 1]."""
        parts = []
        for start in range(0, len(images), BATCH):
            part = images[start : start + BATCH]
            numbers = range(start, start + len(part))
            noise = sample_noise(0, 0, numbers, self.image_step, self.noise_shape(part), part.device)
            parts.append(super().denoised(part, {self.image_step: noise}))
        return torch.cat(parts).clamp(0, 1)


class SameImages(Guidance):
    """The images themselves replace their denoised versions; features are the denoiser's."""

    @torch.no_grad()
    def denoised(self, image01: Tensor, noise: Mapping[int, Tensor] | None = None) -> Tensor:
        """The images (B, 3, H, W)."""
        return image01


class OtherFeatures(Guidance):
    """The denoiser's features are replaced by those of another frozen network; denoised images are the denoiser's.

    Args:
        network: normalised images (B, 3, H, W) -> (B, K, h', w') features, as many as the denoiser has at one step.
        normalize: standardises images in [0, 1] for `network`.
        *guidance_options, **guidance_keywords: see `Guidance`.
    """

    def __init__(
        self,
        network: nn.Module,
        normalize: Callable[[Tensor], Tensor],
        *guidance_options: Any,
        **guidance_keywords: Any,
    ):
        super().__init__(*guidance_options, **guidance_keywords)
        self.normalize = normalize
        self.network = network.requires_grad_(False).eval()
        self.feature_steps = ()  # no noise is needed for features

    @torch.no_grad()
    def features(self, image01: Tensor, noise: Mapping[int, Tensor] | None = None) -> Tensor:
        """The features of the other network."""
        features: Tensor = self.network(self.normalize(image01))
        return features


def blur(images: Tensor, sigma: float) -> Tensor:
    """Images (B, 3, H, W) after a Gaussian blur of a standard deviation in pixels."""
    from torchvision.transforms.v2.functional import gaussian_blur  # here, because it takes a second

    return gaussian_blur(images, blur_width(sigma, min(images.shape[-2:])), sigma)


def blur_width(sigma: float, size: int) -> int:
    """Side of the window of a Gaussian blur: odd, four sigmas to each side where the image has room for them."""
    return 2 * min(round(4 * sigma) + 1, (size - 1) // 2) + 1


def sigma_of(images: Tensor, decibels: float) -> float:
    """The standard deviation in pixels of the blur after which images have a mean PSNR, by bisection."""
    low, high = 0.05, MOST_BLUR
    for _ in range(16):
        middle = (low * high) ** 0.5
        parts = [psnr(blur(part, middle), part) for part in images.split(BATCH)]
        low, high = (middle, high) if torch.cat(parts).mean() > decibels else (low, middle)
    return (low * high) ** 0.5


def psnr(images: Tensor, originals: Tensor) -> Tensor:
    """(n,) peak signal-to-noise ratio in dB of images in [0, 1]."""
    return -10 * (images - originals).square().mean(dim=(1, 2, 3)).clamp(min=1e-10).log10()
