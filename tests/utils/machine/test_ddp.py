"""What DistributedDataParallel sees of the networks, with a process group that is there in name only."""

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.testing._internal.distributed.fake_pg import FakeStore

from tests.helpers.tiny_training import batch, denoiser_training, dig_training
from utils.machine.distributed import unwrap, wrap_ddp

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def first_of_two(monkeypatch):
    """This process as the first of two, of which the other never comes."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    dist.init_process_group("fake", rank=0, world_size=2, store=FakeStore())
    yield
    dist.destroy_process_group()


class Traffic:
    """Gradients that a wrapped module sends, which come back as they are.

    Args:
        ddp: the wrapped module.
        optimizer: of its parameters; here it steps nowhere, so that gradients can be looked at.
    """

    def __init__(self, ddp: nn.Module, optimizer: torch.optim.Optimizer, monkeypatch: pytest.MonkeyPatch):
        self.weights = {name: p for name, p in unwrap(ddp).named_parameters() if p.requires_grad}
        self.sent: list[str] = []
        self.without: list[str] = []
        self.buffers: set[int] = set()
        self.copied: list[str] = []
        names = {id(parameter): name for name, parameter in self.weights.items()}

        def send(_state: None, bucket: dist.GradBucket) -> torch.futures.Future[torch.Tensor]:
            self.sent += [names[id(parameter)] for parameter in bucket.parameters()]
            self.buffers.add(bucket.buffer().untyped_storage().data_ptr())
            future: torch.futures.Future[torch.Tensor] = torch.futures.Future()
            future.set_result(bucket.buffer())
            return future

        def look(*_: object) -> None:
            gradients = {name: parameter.grad for name, parameter in self.weights.items()}
            self.without += [name for name, gradient in gradients.items() if gradient is None]
            places = {name: g.untyped_storage().data_ptr() for name, g in gradients.items() if g is not None}
            self.copied += [name for name, place in places.items() if place not in self.buffers]

        ddp.register_comm_hook(None, send)
        monkeypatch.setattr(optimizer, "step", look)


@pytest.mark.parametrize("net", [{}, {"grad_checkpoint": True}, {"stem": "test_resnet"}], ids=["plain", "again", "stem"])
@pytest.mark.parametrize("accum", [1, 2])
def test_every_gradient_of_dig_is_averaged_once_a_step_where_it_lies(tmp_path, net, accum, monkeypatch):
    training = dig_training(tmp_path, net=net, accum=accum)
    training.step = wrap_ddp(training.step, CPU)
    traffic = Traffic(training.step, training.optimizer, monkeypatch)
    assert not any(name.startswith("guidance.") for name in traffic.weights)
    for training.epoch in (0, 1):  # without the losses that wait, and with all
        traffic.sent.clear()
        training.update(*batch())
        assert sorted(traffic.sent) == sorted(traffic.weights)
    assert traffic.without == []
    assert traffic.copied == []


@pytest.mark.parametrize("options", [{}, {"accum": 2}, {"grad_checkpoint": True}], ids=["plain", "in parts", "again"])
def test_every_gradient_of_the_denoiser_is_averaged_once_a_step_where_it_lies(options, monkeypatch):
    training = denoiser_training(**options)
    training.wrap_ddp()
    traffic = Traffic(training.loss, training.optimizer, monkeypatch)
    images, _, samples = batch()
    for _ in range(2):
        traffic.sent.clear()
        training.update(images, samples, 0)
        assert sorted(traffic.sent) == sorted(traffic.weights)
    assert traffic.without == []
    assert traffic.copied == []
