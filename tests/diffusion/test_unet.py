"""The U-Net against denoising-diffusion-pytorch, whose checkpoints it shares."""

from functools import partial

import pytest
import torch
from denoising_diffusion_pytorch import Unet

from benchmarks.training import kept_bytes
from diffusion.unet import UNet, Upsample


@pytest.fixture(scope="module")
def pair():
    torch.manual_seed(0)
    theirs = Unet(dim=16, dim_mults=(1, 2, 4, 8), flash_attn=False).eval()
    for name, parameter in theirs.named_parameters():
        if name.endswith((".g", "norm.weight")):
            torch.nn.init.normal_(parameter, 1, 0.1)
    ours = UNet(16).eval()
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


def test_parameters_have_the_same_names_in_the_same_order(pair):
    ours, theirs = pair
    assert list(ours.state_dict()) == list(theirs.state_dict())


@torch.no_grad()
@pytest.mark.parametrize("size", [(32, 32), (16, 40)])
def test_equal_weights_predict_equally(pair, size):
    ours, theirs = pair
    x, step = torch.randn(3, 3, *size), torch.tensor([0, 100, 999])
    torch.testing.assert_close(ours(x, step), theirs(x, step), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_compiled_passes_compute_the_same(pair, monkeypatch):
    # Tracing and its guards without the code generation, which takes minutes.
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    ours = UNet(8).eval().requires_grad_(False)
    x, step = torch.randn(2, 3, 16, 16), torch.tensor([3, 700])
    expected = ours(x, step), ours.features(x, step)
    ours.compile_passes()
    torch.testing.assert_close((ours(x, step), ours.features(x, step)), expected)


def test_activations_that_are_computed_again_change_no_gradient():
    gradients, kept = [], []
    for again in (False, True):
        torch.manual_seed(0)
        net = UNet(8, again)
        x, step = torch.randn(2, 3, 16, 16), torch.tensor([3, 700])
        kept.append(kept_bytes(lambda net=net, x=x, step=step: net(x, step).square().mean(), net))
        net(x, step).square().mean().backward()
        gradients.append({name: p.grad for name, p in net.named_parameters()})
    assert all(torch.equal(gradient, gradients[1][name]) for name, gradient in gradients[0].items())
    assert kept[1] < kept[0] / 4


def test_upsampling_is_repetition_and_convolution():
    torch.manual_seed(0)
    layer, x = Upsample(5, 3), torch.randn(2, 5, 4, 6)
    repeated = x.repeat_interleave(2, -1).repeat_interleave(2, -2)
    torch.testing.assert_close(layer(x), layer[1](repeated), rtol=1e-5, atol=1e-6)


def test_gradients_are_equal(pair):
    x, step = torch.randn(2, 3, 16, 16), torch.tensor([3, 700])
    gradients = []
    for net in pair:
        net.zero_grad()
        net(x, step).square().mean().backward()
        gradients.append({name: p.grad.clone() for name, p in net.named_parameters()})
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name], rtol=1e-3, atol=1e-6)


@torch.no_grad()
def test_features_are_those_of_the_librarys_layers(pair):
    ours, theirs = pair
    seen = []
    for layer in (theirs.mid_block2, *(level[3] for level in theirs.ups)):
        layer.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    x, step = torch.randn(1, 3, 32, 32), torch.tensor([2])
    theirs(x, step)
    features = ours.features(x, step)
    assert [tuple(f.shape[1:]) for f in features] == [(128, 4, 4), (64, 8, 8), (32, 16, 16), (16, 32, 32), (16, 32, 32)]
    for feature, expected in zip(features, seen, strict=True):
        torch.testing.assert_close(feature, expected, rtol=1e-4, atol=1e-5)


def test_feature_channels_are_counted(pair):
    ours, _ = pair
    features = ours.features(torch.randn(1, 3, 8, 8), torch.tensor([0]))
    assert sum(f.shape[1] for f in features) == ours.feature_channels == 256


def test_a_width_that_groups_do_not_divide_is_refused():
    with pytest.raises(ValueError, match="multiple of 8"):
        UNet(12)
