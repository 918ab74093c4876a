"""Weights updated in the backward pass, so that their gradients are never there all at once."""

import torch
from torch import Tensor

from ..errors import InputError
from ..machine.distributed import world_size


def update_in_backward(optimizer: torch.optim.Optimizer) -> None:
    """Has every backward pass update each weight as soon as its gradient is complete, which is then freed.

    Steps of the optimiser after a backward pass find nothing left to do. For optimisers that treat each weight by itself,
    as AdamW does, the result has the same bits.

    Raises:
        InputError: there are several processes, whose gradients are averaged only after this.
    """
    if world_size() > 1:
        raise InputError(f"--update-in-backward goes with one process, and there are {world_size()}: --nproc 1")

    def update(_weight: Tensor) -> None:
        optimizer.step()  # passes over weights without a gradient: all others
        optimizer.zero_grad(set_to_none=True)

    for group in optimizer.param_groups:
        for weight in group["params"]:
            if weight.requires_grad:
                weight.register_post_accumulate_grad_hook(update)
