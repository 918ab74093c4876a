"""Guides in which something else stands in for a part of the denoiser's guidance."""

import pytest
import torch
from torch import nn

from diffusion import Guidance
from diffusion.stand_ins import MOST_BLUR, BlurredImages, OtherFeatures, SameImages, blur, psnr, sigma_of
from tests.helpers.guidance import noise_for


@pytest.fixture
def images():
    """Smooth images, of which a blur leaves more the smaller it is."""
    noise = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    return (0.5 + 2 * blur(noise, 2.0)).clamp(0, 1)


def test_the_blur_of_a_psnr_has_that_psnr(images):
    for decibels in (25.0, 30.0):
        found = psnr(blur(images, sigma_of(images, decibels)), images).mean()
        assert found.item() == pytest.approx(decibels, abs=0.1)


def test_blurred_and_denoised_images_are_equally_far_from_the_originals(denoiser, images):
    guidance = BlurredImages(images, denoiser, (2,), image_step=10)
    blurred = guidance.denoised(images)
    assert psnr(blurred, images).mean().item() == pytest.approx(guidance.psnr, abs=0.1)
    assert 0.05 < guidance.sigma < MOST_BLUR
    assert torch.equal(blurred, blur(images, guidance.sigma))


def test_beside_blurred_images_features_are_the_denoisers(denoiser, images):
    plain, blurred = Guidance(denoiser, (2,), stride=8), BlurredImages(images, denoiser, (2,), stride=8)
    noise = noise_for(plain, images)
    assert torch.equal(blurred.features(images, noise), plain.features(images, noise))


def test_the_images_themselves_stand_in_for_denoised_ones(denoiser, images):
    plain, same = Guidance(denoiser, (2,), stride=8), SameImages(denoiser, (2,), stride=8)
    noise = noise_for(plain, images)
    assert torch.equal(same.denoised(images, noise), images)
    assert torch.equal(same.features(images, noise), plain.features(images, noise))


def test_other_features_are_those_of_the_normalised_image_and_do_not_learn(denoiser, images):
    torch.manual_seed(0)
    network = nn.Conv2d(3, 5, 8, stride=8)
    guidance = OtherFeatures(network, lambda image: image - 0.5, denoiser, (2,), stride=8)
    assert torch.equal(guidance.features(images, {}), network(images - 0.5).detach())
    assert not any(parameter.requires_grad for parameter in guidance.parameters())
    assert guidance.feature_steps == ()


def test_beside_other_features_the_image_is_denoised(denoiser, images):
    plain = Guidance(denoiser, (2,), image_step=50)
    other = OtherFeatures(nn.Conv2d(3, 5, 8, stride=8), nn.Identity(), denoiser, (2,), image_step=50)
    noise = noise_for(plain, images)
    assert torch.equal(other.denoised(images, noise), plain.denoised(images, noise))
