"""Fixtures of the tests of guidance."""

import pytest
import torch

from diffusion import GaussianDiffusion, build_denoiser


@pytest.fixture(scope="module")
def denoiser() -> GaussianDiffusion:
    """A small denoiser of random weights."""
    torch.manual_seed(0)
    return build_denoiser(dim=8, image_size=32)
