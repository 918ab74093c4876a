"""Updating weights during the backward pass, so that all gradients are never in memory at once."""

import torch
from torch import Tensor

from ..errors import InputError
from ..machine.distributed import world_size


def update_in_backward(optimizer: torch.optim.Optimizer) -> None:
    """Makes each backward pass update a weight as soon as its gradient is complete, and then free the gradient.

    `optimizer.step()` after the backward pass then has nothing to do. For optimisers that update each weight independently,
    such as AdamW, the result is bit-identical.

    Raises:
        InputError: there are several processes, which would average the gradients only after the update.
    """
    if world_size() > 1:
        raise InputError(f"--update-in-backward goes with one process, and there are {world_size()}: --nproc 1")

    def update(_weight: Tensor) -> None:
        optimizer.step()  # skips weights without a gradient, which are all others
        optimizer.zero_grad(set_to_none=True)

    for group in optimizer.param_groups:
        for weight in group["params"]:
            if weight.requires_grad:
                weight.register_post_accumulate_grad_hook(update)
