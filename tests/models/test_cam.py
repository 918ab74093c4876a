"""Normalisation of maps."""

import torch

from models import normalize_cam


def test_each_map_is_stretched_by_itself():
    cam = torch.tensor([[[1.0, 3.0]], [[10.0, 30.0]]])
    torch.testing.assert_close(normalize_cam(cam), torch.tensor([[[0.0, 1.0]], [[0.0, 1.0]]]), rtol=0, atol=2e-5)


def test_values_stay_in_zero_to_one():
    cam = normalize_cam(torch.randn(4, 5, 6, 7, generator=torch.Generator().manual_seed(0)) * 100)
    assert cam.min() >= 0
    assert cam.max() <= 1


def test_negative_values_count_as_zero():
    assert torch.equal(normalize_cam(torch.tensor([[-9.0, 0.0, 2.0]])), normalize_cam(torch.tensor([[0.0, 0.0, 2.0]])))


def test_a_constant_map_becomes_zero():
    assert not normalize_cam(torch.full((1, 3, 3), 7.0)).any()


def test_the_epsilon_is_the_published_one():
    torch.testing.assert_close(normalize_cam(torch.tensor([[0.0, 1e-4]])), torch.tensor([[0.0, 9e-5 / 1.1e-4]]))


def test_half_precision_is_normalised_in_float32():
    assert normalize_cam(torch.rand(2, 2, dtype=torch.bfloat16)).dtype == torch.float32
