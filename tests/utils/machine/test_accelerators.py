"""The same code on the accelerators that this machine has: training, inference and the denoiser at their smallest."""

from pathlib import Path

import numpy as np
import pytest
import torch

import infer_trm
import train_diffusion
from tests.helpers.device import THERE
from tests.helpers.folders import states
from tests.helpers.small_runs import SMALL_DENOISER, train_small
from tests.helpers.weights import equal, transformer_weights
from utils.errors import InputError

pytestmark = pytest.mark.accelerator


@pytest.fixture(params=THERE)
def device(request) -> str:
    if not THERE[request.param]:
        pytest.skip(f"there is no {request.param} device here")
    return request.param


def test_two_runs_are_equal_to_the_bit(tmp_path, toy_voc, device):
    runs = [train_small(tmp_path, toy_voc, name, f"--epochs 2 --start-epoch 1 --device {device}") for name in "ab"]
    assert equal(transformer_weights(runs[0], 1), transformer_weights(runs[1], 1))


def cams_of(tmp_path: Path, device: str) -> np.ndarray:
    """CAMs of an image of two classes, computed on a device whatever was there before."""
    folder = tmp_path / "run" / "dict"
    before = states(folder, "*.npy")
    infer_trm.main(f"--name run --experiments {tmp_path} --dict --overwrite --device {device}".split())
    assert states(folder, "*.npy").items().isdisjoint(before.items())
    return np.stack(list(np.load(folder / "2007_000001.npy", allow_pickle=True).item().values()))


def test_cams_are_those_of_the_cpu(tmp_path, toy_voc, device):
    train_small(tmp_path, toy_voc, "run")
    # TF32 products, and maps of little contrast
    np.testing.assert_allclose(cams_of(tmp_path, device), cams_of(tmp_path, "cpu"), atol=0.05)


def test_cams_that_are_compared_are_computed_each_time(tmp_path, toy_voc):
    train_small(tmp_path, toy_voc, "run")
    np.testing.assert_array_equal(cams_of(tmp_path, "cpu"), cams_of(tmp_path, "cpu"))


def test_cams_of_two_devices_are_not_mixed(tmp_path, toy_voc, device):
    train_small(tmp_path, toy_voc, "run")
    cams_of(tmp_path, "cpu")
    with pytest.raises(InputError, match="dict was made with device 'cpu in float32'"):
        infer_trm.main(f"--name run --experiments {tmp_path} --dict --device {device}".split())


@pytest.mark.parametrize("amp", ["off", "fp16"])
def test_the_denoiser_trains(tmp_path, toy_voc, device, amp):
    out = tmp_path / "out.pt"
    train_diffusion.main(
        f"--name d --experiments {tmp_path} --data {toy_voc}/JPEGImages --out {out} {SMALL_DENOISER} --steps 2 "
        f"--amp {amp} --device {device}".split()
    )
    assert all(value.isfinite().all() for value in torch.load(out, weights_only=True)["model"].values())
