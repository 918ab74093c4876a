"""Updating weights in the backward pass."""

import pytest
import torch
from torch import nn

from utils.errors import InputError
from utils.training.backward_updates import update_in_backward


def test_only_one_gradient_is_there_at_a_time():
    net = nn.Sequential(*(nn.Linear(4, 4, bias=False) for _ in range(3)))
    before = [layer.weight.clone() for layer in net]
    there = []
    for layer in net:
        layer.weight.register_post_accumulate_grad_hook(
            lambda _weight: there.append(sum(layer.weight.grad is not None for layer in net))
        )
    update_in_backward(torch.optim.AdamW(net.parameters(), lr=0.1))
    net(torch.ones(2, 4)).sum().backward()
    assert there == [1, 1, 1]
    assert all(layer.weight.grad is None for layer in net)
    assert not any(torch.equal(layer.weight, old) for layer, old in zip(net, before, strict=True))


def test_a_learning_rate_that_changes_later_counts():
    layer = nn.Linear(4, 4)
    layer.bias.requires_grad_(False)
    optimizer = torch.optim.AdamW(layer.parameters(), lr=0.1)
    update_in_backward(optimizer)
    optimizer.param_groups[0]["lr"] = 0.0
    before = layer.weight.clone()
    layer(torch.ones(2, 4)).sum().backward()
    assert torch.equal(layer.weight, before)


def test_several_processes_are_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="--update-in-backward goes with one process, and there are 2"):
        update_in_backward(torch.optim.SGD(nn.Linear(2, 2).parameters()))
