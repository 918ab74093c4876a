"""Training steps never wait for the device: on a GPU, each wait would leave it idle."""

from collections.abc import Sequence

import pytest
import torch
from ema_pytorch import EMA
from torch.utils._python_dispatch import TorchDispatchMode

import train_diffusion
from diffusion import Guidance, build_denoiser
from models import DiGLoss, build_dig
from utils.log import RunLog
from utils.machine.device import Precision, upload
from utils.machine.interruptions import Interruptions
from utils.training.engine import Training, TrainingStep

WAITS = ("_local_scalar_dense", "nonzero", "masked_select", "unique", "equal", "is_nonzero")
"""Operations whose result the host needs, or whose output's size depends on values."""


class CountWaits(TorchDispatchMode):
    """Names of the operations that would wait for a GPU.

    Args:
        on_host: numbers that stay on the CPU whatever the device, for which nothing waits.
    """

    def __init__(self, on_host: Sequence[torch.Tensor] = ()):
        super().__init__()
        self.found: list[str] = []
        self.on_host = {tensor.data_ptr() for tensor in on_host}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket.__name__
        indices = args[1] if name in ("index", "index_put", "index_put_") else ()
        by_mask = any(index is not None and index.dtype == torch.bool for index in indices)
        if args and isinstance(args[0], torch.Tensor) and args[0].data_ptr() in self.on_host:
            return function(*args, **(kwargs or {}))
        if by_mask or any(name.startswith(wait) for wait in WAITS):
            self.found.append(name)
        return function(*args, **(kwargs or {}))


def test_the_count_sees_what_waits():
    with CountWaits() as waits:
        values = torch.arange(3.0)
        values.sum().item()
        values[values > 1]
        bool(values.any())
    assert len(waits.found) == 3


@pytest.fixture
def training(tmp_path) -> Training:
    guidance = Guidance(build_denoiser(8, 32), (0, 1), 100, "exact", 16)
    channels = guidance.denoiser.model.feature_channels
    net = build_dig(3, feature_steps=2, feature_channels=channels, image_size=32, embed_dim=16, depth=2, num_heads=2)
    precision = Precision("off", torch.device("cpu"))
    step = TrainingStep(net, guidance, DiGLoss(start_epoch=0), net.normalize, precision)
    optimizer = torch.optim.AdamW(net.parameters(), fused=True)
    return Training(step, optimizer, 0, tmp_path / "last.pth", RunLog(tmp_path, silent=True), 50, Interruptions())


def test_a_step_of_dig_waits_for_nothing(training):
    images = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8)
    labels = torch.tensor([[1, 0, 0], [0, 1, 0], [1, 0, 1], [0, 0, 1]])
    training.step.train()
    with CountWaits() as waits:
        losses = training.update(images, labels, [0, 1, 2, 3])
    assert waits.found == []
    assert all(loss > 0 for loss in losses.values())


def test_a_step_of_the_denoiser_waits_for_nothing():
    denoiser = build_denoiser(8, 32)
    ema = EMA(denoiser, beta=0.9, update_every=1)
    optimizer = train_diffusion.build_optimizer(denoiser, 1e-3, torch.device("cuda"))  # fused, as on a GPU
    training = train_diffusion.Training(denoiser, ema, optimizer, Precision("off", torch.device("cpu")))
    image = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    with CountWaits(on_host=(ema.step, ema.initted)) as waits:
        loss = training.update(image, [0, 1], 0)
    assert waits.found == []
    assert loss > 0


def test_what_is_made_on_the_cpu_is_pinned_before_it_goes_to_a_gpu(monkeypatch):
    calls = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: calls.append("pinned") or self)
    monkeypatch.setattr(torch.Tensor, "to", lambda self, *_, **how: calls.append(how) or self)
    upload(torch.zeros(2), torch.device("cuda"))
    assert calls == ["pinned", {"non_blocking": False}]  # this tensor only says that it is pinned
