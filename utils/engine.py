"""The training engine of DiG: one step, one epoch, and the scoring between epochs."""

import time
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from .device import Precision, to_device
from .distributed import bare, is_main, mean_over_processes, rank, sum_over_processes
from .errors import InputError
from .masks import read_mask
from .metrics import Scores, ThresholdSweep
from .runlog import RunLog, progress
from .seeding import Stream, derive_seed, sample_noise


class TrainingStep(nn.Module):
    """Everything between a batch and its losses.

    Args:
        net: `models.DiG`.
        guidance: `diffusion.Guidance`.
        criterion: `models.DiGLoss`.
        normalize: from [0, 1] to what `net` expects.
        precision: of both networks.
    """

    def __init__(
        self,
        net: nn.Module,
        guidance: nn.Module,
        criterion: Callable,
        normalize: Callable[[Tensor], Tensor],
        precision: Precision,
    ):
        super().__init__()
        self.net = net
        self.guidance = guidance
        self.criterion = criterion
        self.normalize = normalize
        self.precision = precision

    def forward(self, image01: Tensor, labels: Tensor, noise: dict[int, Tensor], epoch: int) -> dict[str, Tensor]:
        """Args:
            image01: (B, 3, S, S) in [0, 1].
            labels: (B, C) in {0, 1}.
            noise: standard normal (B, 3, S, S) for every diffusion step that the guidance uses.
            epoch: counted from 0.

        Returns:
            The losses by name, weights applied.
        """
        with self.precision.autocast():
            guidance = self.guidance(image01, noise)
            original = self.net(self.normalize(image01), guidance.features)
            denoised = self.net(self.normalize(guidance.denoised))
        return self.criterion(original, denoised, labels, epoch)


def train_epoch(
    step: nn.Module,
    loader: DataLoader,
    optimizer: torch.optim.Optimizer,
    precision: Precision,
    epoch: int,
    seed: int,
    log: RunLog,
    print_freq: int,
) -> dict[str, float]:
    """Trains for one epoch.

    The device is only waited for every `print_freq` steps, when losses are fetched for the log.

    Args:
        step: a `TrainingStep`, in several processes its replica.
        loader: of this process's part of every batch.
        optimizer, precision: of the networks.
        epoch, seed: what order, augmentation and noise depend on.
        log: where losses go, means over all processes.
        print_freq: steps between two lines.

    Returns:
        Mean of each loss over the epoch, and their sum under `total`.

    Raises:
        InputError: a loss was not finite; epoch, step and loss are named.
    """
    step.train()
    device = precision.device
    loader.sampler.epoch = epoch
    sums: dict[str, float] = {}
    waiting: list[Tensor] = []  # losses of the steps since the last fetch, on the device
    started, lr = time.perf_counter(), optimizer.param_groups[0]["lr"]
    steps = bare(step).guidance.steps
    for i, (image, labels, index) in enumerate(progress(loader, f"epoch {epoch}", shown=is_main())):
        image01 = to_device(image, device).float() / 255
        labels = to_device(labels, device)
        noise = {t: sample_noise(seed, epoch, index.tolist(), t, image01.shape[1:], device) for t in steps}
        # Stochastic depth draws from the global generator: seeding it by step makes any step repeatable by itself.
        torch.manual_seed(derive_seed(Stream.STEP, seed, epoch, i) + rank())
        losses = step(image01, labels, noise, epoch)
        precision.step(sum(losses.values()), optimizer)

        waiting.append(torch.stack([loss.detach() for loss in losses.values()]))
        if (i + 1) % print_freq == 0 or i + 1 == len(loader):
            fetched = mean_over_processes(torch.stack(waiting))  # (steps, losses)
            fetched = fetched.cpu().double().numpy()  # the one wait for the device
            check_finite(fetched, list(losses), epoch, i + 1 - len(waiting))
            waiting.clear()
            for name, values in zip(losses, fetched.T, strict=True):
                sums[name] = sums.get(name, 0.0) + values.sum()
            mean = dict(zip(losses, fetched.mean(0), strict=True))
            log.scalars(
                {f"loss/{name}": value for name, value in mean.items()} | {"loss/total": sum(mean.values()), "lr": lr},
                epoch * len(loader) + i + 1,
            )
            log.info(
                f"epoch {epoch} step {i + 1}/{len(loader)} lr {lr:.3g} total {sum(mean.values()):.4f} "
                + " ".join(f"{name} {value:.4f}" for name, value in mean.items())
                + f" {(time.perf_counter() - started) / (i + 1):.2f} s/step"
            )
    means = {name: total / len(loader) for name, total in sums.items()}
    return means | {"total": sum(means.values())}


def check_finite(values: np.ndarray, names: list[str], epoch: int, first_step: int) -> None:
    """Raises InputError for the first loss of (steps, losses) that is not finite."""
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        row, column = bad[0]
        raise InputError(
            f"epoch {epoch} step {first_step + row + 1}: loss {names[column]} is {values[row, column]}; "
            "the last checkpoint is from before. A smaller --lr or --amp off may help"
        )


def infer_cams(net: nn.Module, loader: DataLoader, precision: Precision, description: str) -> Iterator[tuple]:
    """CAMs of every image of a loader of `InferenceImages`, one at a time.

    Yields:
        (sample, {class index: (H, W) float32 array}) at the size of the image file.
    """
    net.eval()
    for sample in progress(loader, description, shown=is_main()):
        if min(sample.image.shape[-2:]) < net.patch_size:
            height, width = sample.image.shape[-2:]
            raise InputError(f"{sample.image_id} is {width} x {height} pixels, smaller than one patch of {net.patch_size}")
        image01 = to_device(sample.image, precision.device).float() / 255
        with precision.autocast():
            cams = net.cam(image01, sample.labels.to(precision.device), tuple(sample.size))
        yield sample, dict(zip(sample.labels.tolist(), cams.cpu().numpy(), strict=True))


def score_cams(net: nn.Module, loader: DataLoader, precision: Precision, mask_path: Callable, num_classes: int) -> Scores:
    """Scores the CAMs of all processes' loaders at thresholds 0.01 .. 0.99 without writing them.

    Args:
        mask_path: from an image id to its ground truth.
    """
    sweep = ThresholdSweep(num_classes)
    for sample, cams in infer_cams(net, loader, precision, "validation"):
        sweep.add(cams, read_mask(mask_path(sample.image_id), tuple(sample.size), num_classes))
    sweep.counts = sum_over_processes(sweep.counts)
    return sweep.scores()
