"""What the frozen denoiser hands to DiG."""

import pytest
import torch
import torch.nn.functional as F

from diffusion import Guidance
from tests.helpers.guidance import noise_for


@pytest.fixture
def image():
    return torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def test_features_come_in_the_order_of_the_steps(denoiser, image):
    forwards = Guidance(denoiser, (0, 3), stride=8)
    noise = noise_for(forwards, image)
    first, second = forwards(image, noise).features.chunk(2, dim=1)
    assert first.shape == (2, 128, 4, 4)
    backwards = Guidance(denoiser, (3, 0), stride=8)
    assert torch.equal(backwards(image, noise).features, torch.cat((second, first), dim=1))


def test_features_are_resized_with_aligned_corners(denoiser, image):
    guidance = Guidance(denoiser, (2,), stride=16)
    noise = noise_for(guidance, image)
    step = torch.full((2,), 2)
    maps = denoiser.model.features(denoiser.add_noise(2 * image - 1, step, noise[2]), step)
    corners = [F.interpolate(m, (2, 2), mode="bilinear", align_corners=True) for m in maps]
    features = guidance(image, noise).features
    assert torch.equal(features, torch.cat(corners, dim=1))
    assert torch.equal(features[:, -8:], maps[-1][:, :, ::31, ::31])


def test_the_denoised_image_is_predicted_in_one_shot_in_image_range(denoiser, image):
    guidance = Guidance(denoiser, (0,), image_step=50, stride=8)
    noise = noise_for(guidance, image)
    step = torch.full((2,), 50)
    with torch.no_grad():
        x = denoiser.add_noise(2 * image - 1, step, noise[50])
        expected = (denoiser.image_from_v(x, step, denoiser.model(x, step)) + 1) / 2
    assert torch.equal(guidance(image, noise).denoised, expected)


def test_a_shared_pass_is_that_of_the_step_in_the_middle(denoiser, image):
    shared = Guidance(denoiser, (0, 3, 5), mode="shared", stride=8)
    assert shared.feature_steps == (3,)
    noise = noise_for(shared, image)
    assert torch.equal(shared(image, noise).features, Guidance(denoiser, (3,), stride=8)(image, noise).features)


def test_a_denoiser_of_smaller_images_gives_features_and_image_of_the_original_grid(denoiser, image):
    guidance = Guidance(denoiser, (2,), stride=8, size=16)
    assert guidance.noise_shape(image) == (3, 16, 16)
    noise = {t: torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(t)) for t in (2, 100)}
    small = F.interpolate(image, (16, 16), mode="bilinear", antialias=True)
    expected = Guidance(denoiser, (2,), stride=4)(small, noise)
    features, denoised = guidance(image, noise)
    assert torch.equal(features, expected.features)
    assert torch.equal(denoised, F.interpolate(expected.denoised, (32, 32), mode="bilinear"))


def test_each_result_can_be_had_alone(denoiser, image):
    guidance = Guidance(denoiser, (0, 2), stride=8)
    noise = noise_for(guidance, image)
    features, denoised = guidance(image, noise)
    assert torch.equal(guidance.features(image, {t: noise[t] for t in (0, 2)}), features)
    assert torch.equal(guidance.denoised(image, {100: noise[100]}), denoised)


def test_noise_is_fresh_where_none_is_given(denoiser, image):
    guidance = Guidance(denoiser, (1,), stride=8)
    assert not torch.equal(guidance(image).features, guidance(image).features)


def test_the_denoiser_is_frozen_and_stays_in_evaluation_mode(denoiser, image):
    guidance = Guidance(denoiser, (0,), stride=8)
    torch.nn.Sequential(guidance).train()
    assert not guidance.training
    assert not any(module.training for module in guidance.modules())
    assert not any(parameter.requires_grad for parameter in guidance.parameters())
    assert not guidance(image).features.requires_grad


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "fast"}, "guidance mode must be one of exact, shared"),
        ({"feature_steps": (0, 1000)}, r"0 \.\. 999"),
        ({"feature_steps": ()}, "at least one"),
        ({"feature_steps": (1, 1)}, "all different"),
        ({"feature_steps": (100,)}, "other than the image step"),
    ],
)
def test_impossible_options_are_refused(denoiser, options, message):
    with pytest.raises(ValueError, match=message):
        Guidance(denoiser, **options)
