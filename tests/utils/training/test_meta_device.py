"""Steps and inference on the `meta` device, which has shapes and no values.

It refuses what a GPU would refuse or wait for: tensors made on the CPU by mistake, conditions on values, masks as indices.
"""

import pytest
import torch

import train_diffusion
from models import build_dig
from models.backbones import FAMILIES
from tests.helpers.tiny_training import TINY, batch, denoiser_training, dig_training
from utils.cams.inference import predict
from utils.machine.device import Precision
from utils.training import step

pytestmark = pytest.mark.slow

META = torch.device("meta")


@pytest.fixture(autouse=True)
def noise_without_values(monkeypatch):
    """Generators of random numbers need a device that has them."""

    def sample_noise(seed, epoch, samples, step, shape, device):
        return torch.empty(len(samples), *shape, device=device)

    monkeypatch.setattr(step, "sample_noise", sample_noise)
    monkeypatch.setattr(train_diffusion, "sample_noise", sample_noise)


def test_the_device_refuses_what_it_is_here_for():
    values = torch.empty(3, device=META)
    with pytest.raises(RuntimeError, match="meta"):
        values + torch.ones(3)
    with pytest.raises(RuntimeError, match="meta"):
        bool(values.any())
    with pytest.raises(NotImplementedError, match="meta"):
        values[values > 0]


@pytest.mark.parametrize("epoch", [0, 1])
@pytest.mark.parametrize("accum", [1, 2])
def test_a_step_of_dig(tmp_path, epoch, accum):
    training = dig_training(tmp_path, "meta", accum=accum)
    training.epoch = epoch
    losses = training.update(*batch(device="meta"))
    assert {name: loss.device for name, loss in losses.items()} == dict.fromkeys(losses, META)


def test_a_step_of_dig_with_a_stem(tmp_path):
    training = dig_training(tmp_path, "meta", {"stem": "test_resnet"})
    training.step.net.patch_embed.calibrate(torch.empty(2, 3, 32, 32, device=META))
    assert all(loss.device == META for loss in training.update(*batch(device="meta")).values())


@pytest.mark.parametrize("name", ["DINOv2, registers", "DINOv3", "EVA-02", "RoPE-ViT", "SigLIP"])
def test_a_step_and_a_cam_of_other_families(tmp_path, name):
    family = next(family for family in FAMILIES if family.name == name)
    net = {"backbone": family.example, "backbone_options": {"depth": 2, "embed_dim": 32, "num_heads": 2}}
    stride = 14 if "patch14" in family.example else 16
    training = dig_training(tmp_path, "meta", {**net, "image_size": 112, "stride": stride})
    training.update(*batch(112, "meta"))
    net = training.step.net.eval()
    assert net.predict([torch.empty(1, 3, 113, 70, device=META)]).probabilities.shape == (1, 3)


@torch.no_grad()
def test_inference():
    net = build_dig(3, lfca=False, **TINY).eval().to(META)
    pixels = [torch.empty(3, *size, dtype=torch.uint8, device=META) for size in ((33, 48), (66, 96))]
    prediction = predict(net, [("a", pixels), ("b", pixels)], Precision("off", META))
    assert prediction.probabilities.shape == (2, 3)
    assert prediction.cams(1, torch.tensor([0, 2], device=META), (20, 30)).shape == (2, 20, 30)


def test_a_step_and_samples_of_the_denoiser():
    training = denoiser_training("meta")
    training.ema.update = lambda: None  # counts on the device that it was built on
    images, _, samples = batch(device="meta")
    assert training.update(images, samples, 0).device == META
    assert training.denoiser.sample(torch.empty(2, 3, 32, 32, device=META), 3).shape == (2, 3, 32, 32)
