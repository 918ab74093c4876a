"""Noising, loss and sampling against denoising-diffusion-pytorch."""

import pytest
import torch
from denoising_diffusion_pytorch import GaussianDiffusion as TheirDiffusion
from denoising_diffusion_pytorch import Unet

from diffusion import build_denoiser
from diffusion.schedule import sigmoid_betas


@pytest.fixture(scope="module")
def pair():
    torch.manual_seed(0)
    theirs = TheirDiffusion(Unet(dim=8, flash_attn=False), image_size=16, sampling_timesteps=5).eval()
    ours = build_denoiser(dim=8, image_size=16).eval()
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(1)
    image = torch.rand(4, 3, 16, 16, generator=generator) * 2 - 1
    return image, torch.tensor([0, 1, 500, 999]), torch.randn(image.shape, generator=generator)


def test_state_dicts_have_the_same_names_in_the_same_order(pair):
    ours, theirs = pair
    assert list(ours.state_dict()) == list(theirs.state_dict())


def test_noising_is_equal(pair, batch):
    ours, theirs = pair
    assert torch.equal(ours.add_noise(*batch), theirs.q_sample(*batch))


def test_the_loss_and_its_weighting_are_equal(pair, batch):
    ours, theirs = pair
    torch.testing.assert_close(ours.loss(*batch), theirs.p_losses(*batch), rtol=1e-5, atol=0)


def test_denoising_in_one_shot_inverts_noising_for_the_true_v(pair, batch):
    ours, _ = pair
    image, step, noise = batch
    signal, sigma = ours.at(ours.sqrt_alphas_cumprod, step), ours.at(ours.sqrt_one_minus_alphas_cumprod, step)
    restored = ours.image_from_v(ours.add_noise(image, step, noise), step, signal * noise - sigma * image)
    torch.testing.assert_close(restored, image, rtol=0, atol=1e-5)


@torch.no_grad()
def test_ddim_samples_are_equal_from_equal_noise(pair):
    ours, theirs = pair
    torch.manual_seed(3)
    expected = theirs.sample(batch_size=2)
    torch.manual_seed(3)
    torch.testing.assert_close(ours.sample(torch.randn(2, 3, 16, 16), num_steps=5), expected, rtol=0, atol=2e-4)


def test_samples_are_images_between_zero_and_one(pair):
    sample = pair[0].sample(torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(0)), num_steps=2)
    assert 0 <= sample.min() < sample.max() <= 1


def test_sampling_without_steps_is_refused(pair):
    with pytest.raises(ValueError, match="sampling steps"):
        pair[0].sample(torch.zeros(1, 3, 16, 16), num_steps=0)


def test_noise_grows_from_nearly_nothing_to_nearly_everything():
    signal = (1 - sigmoid_betas()).cumprod(0)
    assert (signal.diff() < 0).all()
    assert signal[0] > 0.999
    assert signal[-1] < 0.001


def test_an_image_size_the_unet_cannot_halve_is_refused():
    with pytest.raises(ValueError, match="multiple of 8"):
        build_denoiser(8, 20)
