"""The same code on the accelerators that this machine has: training, inference and the denoiser at their smallest."""

import numpy as np
import pytest
import torch

import infer_trm
import train_diffusion
from tests.scripts.test_train_diffusion import SMALL as SMALL_DENOISER
from tests.scripts.test_train_trm import equal, train, weights

THERE = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}


@pytest.fixture(params=THERE)
def device(request) -> str:
    if not THERE[request.param]:
        pytest.skip(f"there is no {request.param} device here")
    return request.param


def test_two_runs_are_equal_to_the_bit(tmp_path, toy_voc, device):
    runs = [train(tmp_path, toy_voc, name, f"--epochs 2 --start-epoch 1 --device {device}") for name in "ab"]
    assert equal(weights(runs[0], 1), weights(runs[1], 1))


def test_cams_are_those_of_the_cpu(tmp_path, toy_voc, device):
    train(tmp_path, toy_voc, "run")
    maps = []
    for name in ("cpu", device):
        infer_trm.main(f"--name run --experiments {tmp_path} --dict --device {name}".split())
        path = tmp_path / "run" / "dict" / "2007_000001.npy"
        maps.append(np.stack(list(np.load(path, allow_pickle=True).item().values())))
    np.testing.assert_allclose(maps[1], maps[0], atol=0.05)  # TF32 products, and maps of little contrast


@pytest.mark.parametrize("amp", ["off", "fp16"])
def test_the_denoiser_trains(tmp_path, toy_voc, device, amp):
    out = tmp_path / "out.pt"
    train_diffusion.main(
        f"--name d --experiments {tmp_path} --data {toy_voc}/JPEGImages --out {out} {SMALL_DENOISER} --steps 2 "
        f"--amp {amp} --device {device}".split()
    )
    assert all(value.isfinite().all() for value in torch.load(out, weights_only=True)["model"].values())
