"""What both training loops share: gradients of a batch in parts, and what follows a step: report, save, stop."""

import contextlib
from collections.abc import Callable, Mapping
from functools import reduce

import torch
from torch import Tensor, nn

from ..errors import Stopped
from ..machine.device import Precision
from ..machine.distributed import barrier, most_urgent, unsynchronized
from ..machine.interruptions import SAVE, Interruptions


def backward_in_parts(
    losses_of: Callable[[slice], Mapping[str, Tensor]], size: int, accum: int, parallel: nn.Module, precision: Precision
) -> dict[str, Tensor]:
    """Accumulates the gradients of a batch, one part after the other; DDP averages them over processes with the last.

    Args:
        losses_of: from a part of this process's batch to its losses by name, divided by `accum`.
        size: images of this process's batch.
        accum: number of parts.
        parallel: the module in DDP that computes the losses.
        precision: of the network.

    Returns:
        Losses of the whole batch by name, without gradients.
    """
    totals: dict[str, Tensor] = {}
    length = size // accum
    for start in range(0, size, length):
        part = slice(start, start + length)
        with contextlib.nullcontext() if part.stop == size else unsynchronized(parallel):
            losses = losses_of(part)
            precision.backward(reduce(torch.add, losses.values()))
        totals = {name: totals.get(name, 0) + loss.detach() for name, loss in losses.items()}
    return totals


def after_step(
    interruptions: Interruptions, report: Callable[[], None], save: Callable[[], None], reports: bool, saves: bool
) -> None:
    """Reports and saves if due, and stops if a signal asks for it. Every process calls it after every step.

    Args:
        interruptions: signals, and the interval between checkpoints.
        report: logs the losses since the last report; raises InputError for a loss that is not finite, before it is saved.
        save: writes a checkpoint that the training can be resumed from.
        reports, saves: whether a report or a checkpoint is due at this step, apart from requests.

    Raises:
        Stopped: any of the processes received a signal; the run is saved.
    """
    request = most_urgent(interruptions.request())
    if request or reports or saves:
        report()
    if request or saves:
        save()
        interruptions.has_saved()
    if request > SAVE:
        barrier()  # the launcher ends all processes when the first one exits, so none may exit before the others have saved
        raise Stopped(request)
