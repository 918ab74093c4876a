"""The training engine: DiG's training step, the loop over steps of any network, and scoring of CAMs between epochs."""

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from ..cams.inference import CamNetwork, batches_of_one_size, predict
from ..errors import InputError, Stopped
from ..log import RunLog, progress
from ..machine.device import Precision, to_device
from ..machine.distributed import (
    gather,
    is_main,
    mean_over_processes,
    rank,
    require_common_start,
    sum_over_processes,
    wrap_ddp,
)
from ..machine.interruptions import SAVE, Interruptions
from ..machine.memory import return_freed_memory, returning_freed_memory
from ..machine.parallel import in_background
from ..scoring.classification import ClassificationScores, ClassificationTally
from ..scoring.metrics import Scores, ThresholdSweep
from .checkpoint import LastCheckpoint, load_strictly
from .loop import after_step, backward_in_parts
from .seeding import Stream, derive_seed, sample_noise
from .step import Criterion, Guide, NetworkT, Step

if TYPE_CHECKING:
    from timm.utils import ModelEmaV3


class TrainingStep(Step[NetworkT]):
    """Computes the losses of a batch: denoiser, network and criterion.

    Args:
        net: `models.DiG`.
        guidance: `diffusion.Guidance`; None if no loss uses it.
        criterion: `models.DiGLoss`.
        normalize: standardises images in [0, 1] for `net`.
        precision: of both networks.
    """

    def __init__(
        self,
        net: NetworkT,
        guidance: Guide | None,
        criterion: Criterion,
        normalize: Callable[[Tensor], Tensor],
        precision: Precision,
    ):
        super().__init__(net, precision)
        self.guidance = guidance
        self.criterion = criterion
        self.normalize = normalize

    def forward(self, image01: Tensor, labels: Tensor, noise: dict[int, Tensor], epoch: int) -> dict[str, Tensor]:
        """Args:
            image01: (B, 3, S, S) in [0, 1].
            labels: (B, C) in {0, 1}.
            noise: standard normal (B, 3, s, s) for each of `noise_shapes`, of the size that the denoiser sees.
            epoch: counted from 0.

        Returns:
            Weighted losses by name.
        """
        features = denoised01 = denoised = None
        guidance = self.guidance
        with self.precision.autocast():
            # The denoiser runs first, so that its activations and the network's are never in memory together.
            if guidance is not None and self.criterion.uses_features(epoch):
                features = guidance.features(image01, noise)
            if guidance is not None and self.criterion.uses_denoised(epoch):
                denoised01 = guidance.denoised(image01, noise)
            original = self.net(self.normalize(image01), features)
            if denoised01 is not None:
                denoised = self.net(self.normalize(denoised01))
        return self.criterion(original, denoised, labels, epoch)

    def noise_shapes(self, image01: Tensor, epoch: int) -> dict[int, tuple[int, int, int]]:
        """See `Step`: a loss of this epoch uses the denoiser's pass at these diffusion steps."""
        if self.guidance is None:
            return {}
        steps = [*self.guidance.feature_steps] if self.criterion.uses_features(epoch) else []
        if self.criterion.uses_denoised(epoch):
            steps.append(self.guidance.image_step)
        return dict.fromkeys(steps, self.guidance.noise_shape(image01))


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
        step: the losses of a batch, such as a `TrainingStep`; call `start` before the first epoch.
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
        noise = noise_of(self.step, image01, self.seed, self.epoch, samples)
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


def noise_of(step: Step, image01: Tensor, seed: int, epoch: int, samples: Sequence[int]) -> dict[int, Tensor]:
    """The noise (B, *shape) of each diffusion step that a training step needs for images (B, 3, S, S)."""
    shapes = step.noise_shapes(image01, epoch)
    return {t: sample_noise(seed, epoch, samples, t, shape, image01.device) for t, shape in shapes.items()}


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


def infer_images(
    net: CamNetwork,
    loader: DataLoader,
    precision: Precision,
    description: str,
    interruptions: Interruptions,
    batch_size: int = 1,
    at_patches: bool = False,
) -> Iterator[tuple]:
    """CAMs and image-level probabilities of all images of a loader of `InferenceImages`.

    Args:
        net: `models.DiG`, on its device.
        loader: loader of `InferenceSample`s.
        precision: of the network.
        description: label of the progress bar.
        interruptions: checked before every batch.
        batch_size: images of equal size that go through the network together; 1 keeps the order of the loader.
        at_patches: return the maps of the only scale at patch resolution, before normalisation (`utils.cams.patch_size`).

    Yields:
        (sample, CAMs {class index: (H, W) float32} at the size of the image file, probabilities (C,) float32)

    Raises:
        Stopped: a signal asked to stop.
    """
    net.eval()
    samples = returning_freed_memory(progress(loader, description, shown=is_main()), precision.device)
    for batch in batches_of_one_size(samples, batch_size):
        if interruptions.request() > SAVE:
            raise Stopped(interruptions.request())
        prediction = predict(net, [(sample.image_id, sample.pixels) for sample in batch], precision)
        probabilities = prediction.probabilities.cpu().numpy()
        for i, sample in enumerate(batch):
            labels = to_device(sample.labels, precision.device)
            cams = prediction.maps[0][i, labels] if at_patches else prediction.cams(i, labels, tuple(sample.size))
            yield sample, dict(zip(sample.labels.tolist(), cams.cpu().numpy(), strict=True)), probabilities[i]


def score_cams(
    net: CamNetwork,
    loader: DataLoader,
    precision: Precision,
    read_truth: Callable[[str], np.ndarray],
    num_classes: int,
    interruptions: Interruptions,
    watch: Callable[..., None] = lambda sample, cams: None,
) -> tuple[Scores, ClassificationScores]:
    """Segmentation scores of CAMs at thresholds 0.01 .. 0.99, and classification scores, over all processes' images.

    Args:
        net, loader, precision, interruptions: see `infer_images`.
        read_truth: from an image id to its mask, (H, W) of the size of the CAMs.
        num_classes: number of classes without background.
        watch: called with every sample of this process and its CAMs.
    """
    sweep, tally = ThresholdSweep(num_classes), ClassificationTally(num_classes)
    return_freed_memory()  # before workers are forked

    def score(sample: Any, cams: dict[int, np.ndarray], probabilities: np.ndarray) -> None:
        sweep.add(cams, read_truth(sample.image_id))
        tally.add(probabilities, sample.labels.numpy())
        watch(sample, cams)

    with in_background(0) as do:  # the network does not wait for masks and counts
        for found in infer_images(net, loader, precision, "validation", interruptions):
            do(score, *found)
    sweep.counts = sum_over_processes(sweep.counts)
    tally.images = [image for images in gather(tally.images) for image in images]
    return sweep.scores(), tally.scores()
