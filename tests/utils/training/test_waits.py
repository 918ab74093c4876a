"""Training steps never wait for the device: on a GPU, each wait would leave it idle."""

from collections.abc import Sequence

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from tests.helpers.tiny_training import batch, denoiser_training, dig_training
from utils.machine.device import upload

pytestmark = pytest.mark.slow

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


@pytest.mark.parametrize(
    ("net", "options"),
    [
        ({}, {}),
        ({"grad_checkpoint": True}, {"accum": 2, "ema_decay": 0.9}),
        ({"backbone": "vit_small_patch16_dinov3", "backbone_options": {"depth": 2, "embed_dim": 32, "num_heads": 2}}, {}),
        ({"stem": "test_resnet"}, {}),
    ],
    ids=["plain", "in parts, averaged", "rotary positions", "stem"],
)
def test_a_step_of_dig_waits_for_nothing(tmp_path, net, options):
    training = dig_training(tmp_path, net=net, **options)
    training.epoch = 1  # all losses count
    training.update(*batch())  # what is made once may wait
    with CountWaits() as waits:
        losses = training.update(*batch())
    assert waits.found == []
    assert all(loss > 0 for loss in losses.values())


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("options", [{}, {"accum": 2, "grad_checkpoint": True}], ids=["plain", "in parts"])
def test_a_step_of_the_denoiser_waits_for_nothing(options, scaled):
    training = denoiser_training(**options)
    training.precision.scaler = torch.amp.GradScaler("cpu", enabled=scaled)  # as for float16
    images, _, samples = batch()
    with CountWaits(on_host=(training.ema.step, training.ema.initted)) as waits:
        loss = training.update(images, samples, 0)
    assert waits.found == []
    assert loss > 0


def test_what_is_made_on_the_cpu_is_pinned_before_it_goes_to_a_gpu(monkeypatch):
    calls = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: calls.append("pinned") or self)
    monkeypatch.setattr(torch.Tensor, "to", lambda self, *_, **how: calls.append(how) or self)
    monkeypatch.setattr(torch.Tensor, "is_pinned", lambda self: "pinned" in calls)
    upload(torch.zeros(2), torch.device("cuda"))
    assert calls == ["pinned", {"non_blocking": True}]
