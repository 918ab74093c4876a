"""The training engine: the loop over steps of any network."""

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import InputError
from ..log import RunLog, progress
from ..machine.device import to_device
from ..machine.distributed import (
    gather,
    is_main,
    mean_over_processes,
    rank,
    require_common_start,
    wrap_ddp,
)
from ..machine.interruptions import Interruptions
from ..machine.memory import return_freed_memory
from .checkpoint import LastCheckpoint, load_strictly
from .loop import after_step, backward_in_parts
from .seeding import Stream, derive_seed
from .step import NetworkT, Step

if TYPE_CHECKING:
    from timm.utils import ModelEmaV3


class EpochLoader(Protocol):
    """Batches in an order of their own in every epoch: `datasets.images.EpochLoader`."""

    def __len__(self) -> int:
        """Number of batches of a whole epoch."""

    def __iter__(self) -> Iterator[Any]:
        """Batches (images, labels, indices) of this process."""

    def start(self, epoch: int, skip: int) -> None:
        """Chooses the epoch that is iterated over next, without its first `skip` batches."""

    def names_of(self, indices: Sequence[int]) -> list[str]:
        """Names of images by their indices."""


class Training(Generic[NetworkT]):
    """The state of a training run, its loop over steps, and its checkpoints.

    Order, augmentation and noise depend only on (seed, epoch, step, sample), so no random state needs to be saved: a resumed
    run is bit-identical to an uninterrupted one.

    Args:
        step: the losses of a batch, such as a `GuidedStep`; call `start` before the first epoch.
        optimizer: of the network.
        seed: of noise and stochastic depth.
        last: the run's last checkpoint.
        log: the log; losses are means over all processes.
        print_freq: steps between two lines of the log.
        interruptions: checked after every step.
        accum: number of parts that this process's batch is split into, for gradient accumulation. Losses are means over
            images and no layer mixes images, so only rounding and stochastic depth differ.
        schedule: sets the learning rate before a step, from the number of epochs done, with its fraction.
        ema_decay: decay of the exponential moving average (EMA) of the weights; 0: no average.
    """

    def __init__(
        self,
        step: Step[NetworkT],
        optimizer: torch.optim.Optimizer,
        seed: int,
        last: LastCheckpoint,
        log: RunLog,
        print_freq: int,
        interruptions: Interruptions,
        accum: int = 1,
        schedule: Callable[[float], None] = lambda epochs_done: None,
        ema_decay: float = 0.0,
    ):
        self.step = step
        self.parallel: nn.Module = step  # in DDP, if there are several processes
        self.optimizer = optimizer
        self.seed = seed
        self.last = last
        self.log = log
        self.print_freq = print_freq
        self.interruptions = interruptions
        self.accum = accum
        self.schedule = schedule
        self.ema = average_of(step.net, ema_decay) if ema_decay else None
        self.precision = step.precision
        self.epoch = 0
        self.steps_done = 0  # in this epoch
        self.sums: dict[str, float] = {}  # of each loss over these steps
        self.waiting: list[tuple[Tensor, list[int]]] = []  # losses since the last report, on the device, and their images

    @property
    def result(self) -> NetworkT:
        """The network for inference: with averaged weights if there is an EMA."""
        return self.ema.module if self.ema is not None else self.step.net

    def start(self, loader: EpochLoader, resume: bool) -> None:
        """Prepares the first step: with `resume` from the last checkpoint, and in DDP if there are several processes.

        Raises:
            InputError: there is no usable checkpoint of this run, or the processes would start from different steps.
        """
        if resume:
            self.load()
        require_common_start((self.epoch, self.steps_done, len(loader)))
        self.wrap_ddp()

    def wrap_ddp(self) -> None:
        """Wraps the step in DDP, which averages gradients over all processes."""
        self.parallel = wrap_ddp(self.step, self.precision.device)

    def train_epoch(self, loader: EpochLoader, epoch: int) -> dict[str, float]:
        """Trains for one epoch, or the rest of it after a resume, and saves.

        Losses are copied from the device only every `print_freq` steps, so that it never idles in between.

        Args:
            loader: loader of this process's shard of every batch.
            epoch: counted from 0.

        Returns:
            Mean of each loss over the epoch, and their sum as `total`.

        Raises:
            InputError: a loss was not finite; the message names epoch, step, loss and images.
            Stopped: a signal came; the run is saved.
        """
        if epoch != self.epoch:
            self.epoch, self.steps_done, self.sums = epoch, 0, {}
        self.parallel.train()
        loader.start(epoch, skip=self.steps_done)
        return_freed_memory()  # before workers are forked
        first, started = self.steps_done, time.perf_counter()
        bar = progress(loader, f"epoch {epoch}", len(loader) - first, shown=is_main())
        for image, labels, index in bar if first < len(loader) else ():
            self.schedule(epoch + self.steps_done / len(loader))
            losses = self.update(image, labels, index.tolist())
            self.waiting.append((torch.stack([*losses.values()]), index.tolist()))
            self.steps_done += 1

            pace = (time.perf_counter() - started) / (self.steps_done - first)
            after_step(
                self.interruptions,
                report=partial(self.report, list(losses), loader, pace),
                save=self.save,
                reports=self.steps_done % self.print_freq == 0,
                saves=self.steps_done == len(loader),
            )
        means = {name: total / len(loader) for name, total in self.sums.items()}
        return means | {"total": sum(means.values())}

    def update(self, image: Tensor, labels: Tensor, samples: list[int]) -> dict[str, Tensor]:
        """One optimiser step on images (B, 3, S, S) uint8 with labels as `Step.forward` takes them; returns the losses."""
        device = self.precision.device
        image, labels = to_device(image, device), to_device(labels, device)
        # Stochastic depth uses the global generator; seeding it in each step makes every step repeatable on its own.
        torch.manual_seed(derive_seed(Stream.STEP, self.seed, self.epoch, self.steps_done) + rank())

        def losses_of(part: slice) -> dict[str, Tensor]:
            return self.losses(image[part], labels[part], samples[part])

        totals = backward_in_parts(losses_of, len(samples), self.accum, self.parallel, self.precision)
        self.precision.step(self.optimizer)
        if self.ema is not None:
            self.ema.update(self.step.net)
        return totals

    def losses(self, image: Tensor, labels: Tensor, samples: list[int]) -> dict[str, Tensor]:
        """Losses of images (B, 3, S, S) uint8 with labels as `Step.forward` takes them, divided by `accum`."""
        image01 = image.float() / 255
        noise = self.step.noise(image01, self.seed, self.epoch, samples)
        losses = self.parallel(image01, labels, noise, self.epoch)
        return {name: loss / self.accum for name, loss in losses.items()} if self.accum > 1 else losses

    def report(self, names: list[str], loader: EpochLoader, pace: float) -> None:
        """Logs the mean of the losses since the last report.

        Raises:
            InputError: one of them is not finite.
        """
        own = torch.stack([losses for losses, _ in self.waiting])  # (steps, losses)
        values = mean_over_processes(own.clone()).cpu().double().numpy()  # the only wait for the device
        if len(bad := np.argwhere(~np.isfinite(values))):
            step, loss = bad[0]
            samples = gather(self.waiting[step][1])
            images = loader.names_of([i for part in samples for i in part])
            number = self.steps_done - len(values) + step + 1
            raise InputError(not_finite(f"epoch {self.epoch} step {number}", names[loss], values[step, loss], images))
        self.waiting.clear()
        for name, column in zip(names, values.T, strict=True):
            self.sums[name] = self.sums.get(name, 0.0) + float(column.sum())
        mean = dict(zip(names, values.mean(0).tolist(), strict=True))
        total, lr = sum(mean.values()), self.optimizer.param_groups[0]["lr"]
        self.log.scalars(
            {f"loss/{name}": value for name, value in mean.items()} | {"loss/total": total, "lr": lr},
            self.epoch * len(loader) + self.steps_done,
        )
        self.log.info(
            f"epoch {self.epoch} step {self.steps_done}/{len(loader)} lr {lr:.3g} total {total:.4f} "
            + " ".join(f"{name} {value:.4f}" for name, value in mean.items())
            + f" {pace:.2f} s/step"
        )

    def save(self) -> None:
        """Writes the last checkpoint; see `LastCheckpoint.save`."""
        content = {
            "epoch": self.epoch,
            "step": self.steps_done,
            "sums": self.sums,
            "model": self.step.net.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.precision.scaler.state_dict(),
        }
        if self.ema is not None:
            content["ema"] = self.ema.module.state_dict()
        self.last.save(self.step.net, content)

    def load(self) -> None:
        """Restores the state from the last checkpoint.

        Raises:
            InputError: there is no usable checkpoint of this run.
        """
        content = self.last.load(self.step.net)
        try:
            self.optimizer.load_state_dict(content["optimizer"])
            self.precision.scaler.load_state_dict(content["scaler"])
            self.epoch, self.steps_done = int(content["epoch"]), int(content["step"])
            self.sums = {str(name): float(value) for name, value in content["sums"].items()}
            if self.ema is not None:
                load_strictly(self.ema.module, content["ema"], self.last.path)
        except (AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
            raise InputError(f"{self.last.path} is not what this run can be resumed from: {error}") from error
        self.log.info(f"resuming after step {self.steps_done} of epoch {self.epoch} from {self.last.path}")


def average_of(net: nn.Module, decay: float) -> "ModelEmaV3":
    """A copy of a network whose weights are an exponential moving average of the network's."""
    from timm.utils import ModelEmaV3

    return ModelEmaV3(net, decay)


def not_finite(where: str, name: str, value: float, images: list[str]) -> str:
    """What is said where a loss of a step on some images is not finite."""
    return (
        f"{where}: loss {name} is {value} on the images {' '.join(images)}; the last checkpoint is from before. "
        "A smaller --lr or --amp off may help"
    )
