"""Gaussian diffusion around the U-Net: noising, the "v" objective, one-shot denoising, sampling.

The objective is that of https://arxiv.org/abs/2202.00512, appendix D. Images are in [-1, 1] here.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn

from .schedule import schedule_buffers, sigmoid_betas
from .unet import UNet


class GaussianDiffusion(nn.Module):
    """The denoiser: a U-Net with its noise schedule. Parameters and buffers have the published names.

    Args:
        model: predicts v from (noisy image, step).
        image_size: side in pixels of training images and of samples.
    """

    betas: Tensor
    alphas_cumprod: Tensor
    sqrt_alphas_cumprod: Tensor
    sqrt_one_minus_alphas_cumprod: Tensor
    sqrt_recip_alphas_cumprod: Tensor
    sqrt_recipm1_alphas_cumprod: Tensor
    loss_weight: Tensor

    def __init__(self, model: UNet, image_size: int):
        super().__init__()
        if image_size % model.reduction:
            raise ValueError(f"the denoiser's image size must be a multiple of {model.reduction}, got {image_size}")
        self.model = model
        self.image_size = image_size
        for name, table in schedule_buffers(sigmoid_betas()).items():
            self.register_buffer(name, table)

    @property
    def num_steps(self) -> int:
        """Number of diffusion steps."""
        return len(self.betas)

    def add_noise(self, image: Tensor, step: Tensor, noise: Tensor) -> Tensor:
        """A sample of q(x_t | x_0): the image (B, 3, H, W) with the noise of diffusion step `step` (B,)."""
        signal, sigma = self.at(self.sqrt_alphas_cumprod, step), self.at(self.sqrt_one_minus_alphas_cumprod, step)
        return signal * image + sigma * noise

    def image_from_v(self, x: Tensor, step: Tensor, v: Tensor) -> Tensor:
        """The clean image x_0 from a noisy image (B, 3, H, W) and its v; not clamped."""
        signal, sigma = self.at(self.sqrt_alphas_cumprod, step), self.at(self.sqrt_one_minus_alphas_cumprod, step)
        return signal * x - sigma * v

    def loss(self, image: Tensor, step: Tensor, noise: Tensor) -> Tensor:
        """Training loss of a batch: squared error of v, weighted by step.

        Args:
            image: (B, 3, H, W) in [-1, 1].
            step: (B,) integers in 0 .. num_steps - 1.
            noise: (B, 3, H, W), standard normal.

        Returns:
            float32 scalar.
        """
        signal, sigma = self.at(self.sqrt_alphas_cumprod, step), self.at(self.sqrt_one_minus_alphas_cumprod, step)
        v = signal * noise - sigma * image
        error = self.model(self.add_noise(image, step, noise), step).float() - v
        return (error.square().mean(dim=(1, 2, 3)) * self.loss_weight[step]).mean()

    @torch.no_grad()
    def sample(self, noise: Tensor, num_steps: int = 50) -> Tensor:
        """Deterministic DDIM sampling (https://arxiv.org/abs/2010.02502, eta = 0).

        Args:
            noise: (B, 3, H, W), standard normal: the start of the chain.
            num_steps: network evaluations, 1 .. 1000.

        Returns:
            (B, 3, H, W) images in [0, 1].
        """
        if not 1 <= num_steps <= self.num_steps:
            raise ValueError(f"sampling steps must be in 1 .. {self.num_steps}, got {num_steps}")
        x = noise
        times = torch.linspace(-1, self.num_steps - 1, num_steps + 1).int().tolist()[::-1]
        for now, following in pairwise(times):
            step = torch.full((len(x),), now, device=x.device)
            image = self.image_from_v(x, step, self.model(x, step).float()).clamp(-1, 1)
            # The noise estimate is recomputed from the clamped image.
            implied = (self.at(self.sqrt_recip_alphas_cumprod, step) * x - image) / self.at(
                self.sqrt_recipm1_alphas_cumprod, step
            )
            if following < 0:
                x = image
            else:
                signal = self.alphas_cumprod[following]
                x = signal.sqrt() * image + (1 - signal).sqrt() * implied
        return (x + 1) / 2

    @staticmethod
    def at(table: Tensor, step: Tensor) -> Tensor:
        """Entries of a schedule table for a batch of steps: (B, 1, 1, 1)."""
        return table[step][:, None, None, None]


def build_denoiser(dim: int = 64, image_size: int = 224, grad_checkpoint: bool = False) -> GaussianDiffusion:
    """Builds the denoiser with the names of the published `model-140-pascal.pt`.

    Args:
        dim: width of the U-Net; 64 in the paper.
        image_size: side of a training image in pixels.
        grad_checkpoint: see `UNet`.
    """
    return GaussianDiffusion(UNet(dim, grad_checkpoint), image_size)
