"""Noise for guidance on a batch of images."""

import torch

from diffusion import Guidance


def noise_for(guidance: Guidance, image: torch.Tensor) -> dict[int, torch.Tensor]:
    return {
        t: torch.randn(image.shape, generator=torch.Generator().manual_seed(t))
        for t in (*guidance.feature_steps, guidance.image_step)
    }
