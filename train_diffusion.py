"""Trains the denoiser that guides DiG on a folder of images: python train_diffusion.py --name NAME --data DIR"""

from utils.command_line import check_flags
from utils.options.recipes import denoiser_defaults, recipe
from utils.options.training import DenoiserOptions, shared_batch_of

if __name__ == "__main__":  # before the imports that take seconds
    check_flags(DenoiserOptions, denoiser_defaults)

import dataclasses
from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from ema_pytorch import EMA
from torch import Tensor, nn

from datasets.check import check_images
from datasets.images import EpochLoader, FolderImages, epoch_loader
from diffusion import GaussianDiffusion, build_denoiser
from utils.cams.pictures import save_grid
from utils.errors import InputError, run_script
from utils.experiment.start import open_experiment, parse_run, start_run
from utils.log import RunLog, progress, require_wandb
from utils.machine.compiler import require_compiler
from utils.machine.cores import loader_count
from utils.machine.device import Precision, hardware, prepare_device, to_device, upload
from utils.machine.distributed import (
    first_on_each_machine,
    in_processes,
    is_main,
    job,
    local_world_size,
    mean_over_processes,
    process_group,
    require_common_start,
    require_equal_parts,
    restarted_job,
    shard_rows,
    world_size,
    wrap_ddp,
)
from utils.machine.interruptions import Interruptions
from utils.options.flags import memory_advice
from utils.training.checkpoint import LastCheckpoint, require_finite, save_file
from utils.training.loop import after_step, backward_in_parts
from utils.training.seeding import Stream, derive_seed, sample_noise

FORMAT_VERSION = "1.8.8"
"""Version of denoising-diffusion-pytorch whose checkpoint format is written."""
MAX_GRADIENT_NORM = 1.0


def main(args: list[str]) -> None:
    # Options
    options = parse(args)
    require_wandb(options.wandb)
    out = Path(options.out or recipe(options.exp).denoiser_file or options.folder / "denoiser.pt")
    device = prepare_device(options.device)
    if options.compile:
        require_compiler(device)
    precision = Precision(options.amp, device)
    torch.manual_seed(options.seed)
    images = FolderImages(Path(options.data), options.image_size, options.crop == "crop", options.seed, options.white_level)

    with process_group(device, options.nproc, [options.folder, out]), RunLog(options.folder, silent=not is_main()) as log:
        # Data
        path = open_experiment(options)
        require_free(out, options)
        log.info(f"denoiser of width {options.dim} on {hardware(precision)}: {len(images)} images of {options.data}")
        if images.left_out:
            log.info(f"left out: {images.left_out}")
        with first_on_each_machine():
            check_images(Path(options.data), images.paths, options.check_data, options.white_level, log.info)
        require_equal_parts(options.batch_size, options.accum)
        workers = loader_count(options.num_workers, local_world_size())
        loader = epoch_loader(images, options.batch_size, options.seed, workers, device)

        # Network
        denoiser = build_denoiser(options.dim, options.image_size, options.grad_checkpoint).to(device)
        optimizer = build_optimizer(denoiser, options.lr, device)
        ema = EMA(denoiser, beta=options.ema_decay, update_every=options.ema_every)
        last = LastCheckpoint(path, {"data": images.digest(())}, log.info)
        training = DenoiserTraining(denoiser, ema, optimizer, precision, last, options.accum)
        if options.resume:
            training.load()
        require_common_start(training.step)
        if options.compile:
            denoiser.model.compile_passes()  # after EMA has copied the network
        training.wrap_ddp()
        if is_main():
            start_run(options, (), job())
            log.start_wandb(options.wandb, options.name, dataclasses.asdict(options))

        # Loop
        losses: list[Tensor] = []  # since the last report, on the device
        steps = range(training.step + 1, options.steps + 1)
        bar = progress(batches(loader, steps), "denoiser", len(steps), shown=is_main())
        with Interruptions(options.ckpt_minutes) as interruptions:
            for done, (image, index) in zip(steps, bar, strict=True):
                losses.append(training.update(to_device(image, device), index.tolist(), options.seed))
                milestone = done % options.sample_every == 0 or done == options.steps
                if milestone and is_main():
                    write_samples(ema.ema_model, options, device, done)
                after_step(
                    interruptions,
                    report=partial(report, losses, done, options, log),
                    save=training.save,
                    reports=done % options.print_freq == 0,
                    saves=milestone,
                )
        training.export(out)
        log.info(f"done: {out}; samples in {options.folder / 'samples'}")


def parse(args: list[str]) -> DenoiserOptions:
    """Options from a command line, with the recipe's defaults."""
    return parse_run(DenoiserOptions, args, "train_diffusion.py", __doc__, denoiser_defaults(args), restarted_job())


def require_free(out: Path, options: DenoiserOptions) -> None:
    """Raises InputError if a new run would replace a denoiser without `--overwrite`."""
    if out.exists() and not (options.overwrite or options.resume):
        raise InputError(f"{out} exists: name another file with --out, or replace it with --overwrite")


def build_optimizer(denoiser: GaussianDiffusion, lr: float, device: torch.device) -> torch.optim.Adam:
    """Adam with the published settings; fused on CUDA, because otherwise gradient scaling waits for the GPU in each step."""
    return torch.optim.Adam(denoiser.parameters(), lr=lr, betas=(0.9, 0.99), fused=device.type == "cuda")


class DenoisingLoss(nn.Module):
    """The denoiser's loss as a module's `forward`, because DDP only wraps `forward`."""

    def __init__(self, denoiser: GaussianDiffusion):
        super().__init__()
        self.denoiser = denoiser

    def forward(self, image: Tensor, step: Tensor, noise: Tensor) -> Tensor:
        """See `GaussianDiffusion.loss`."""
        return self.denoiser.loss(image, step, noise)


class DenoiserTraining:
    """The state of a training run, its steps, and its checkpoints.

    Args:
        denoiser: the denoiser.
        ema: exponential moving average of its weights.
        optimizer: of the denoiser.
        precision: of the denoiser.
        last: the run's last checkpoint.
        accum: number of parts that this process's batch is split into, for gradient accumulation. The loss is a mean over
            images and no layer mixes images, so only rounding differs.
    """

    def __init__(
        self,
        denoiser: GaussianDiffusion,
        ema: EMA,
        optimizer: torch.optim.Optimizer,
        precision: Precision,
        last: LastCheckpoint,
        accum: int = 1,
    ):
        self.denoiser = denoiser
        self.ema = ema
        self.optimizer = optimizer
        self.precision = precision
        self.last = last
        self.accum = accum
        self.step = 0
        self.loss: nn.Module = DenoisingLoss(denoiser)

    def wrap_ddp(self) -> None:
        """Wraps the loss in DDP, which averages gradients over all processes."""
        self.loss = wrap_ddp(self.loss, self.precision.device)

    def update(self, image: Tensor, samples: list[int], seed: int) -> Tensor:
        """One training step on images (B, 3, S, S) uint8; returns the loss, on the device."""
        image = image.float() / 127.5 - 1
        generator = torch.Generator().manual_seed(derive_seed(Stream.STEP, seed, self.step))
        batch = len(image) * world_size()
        t = upload(shard_rows(torch.randint(self.denoiser.num_steps, (batch,), generator=generator)), image.device)
        noise = sample_noise(seed, self.step, samples, 0, image.shape[1:], image.device)

        def losses_of(part: slice) -> dict[str, Tensor]:
            with self.precision.autocast():
                return {"loss": self.loss(image[part], t[part], noise[part]) / self.accum}

        losses = backward_in_parts(losses_of, len(image), self.accum, self.loss, self.precision)
        self.precision.step(self.optimizer, MAX_GRADIENT_NORM)
        self.ema.update()
        self.step += 1
        return losses["loss"]

    def export(self, path: Path) -> None:
        """Writes the finished denoiser in the format of denoising-diffusion-pytorch.

        Raises:
            InputError: a weight is not finite, or the file cannot be written.
        """
        require_finite(self.denoiser)
        if is_main():
            save_file(self.content(), path)

    def save(self) -> None:
        """Writes the last checkpoint; see `LastCheckpoint.save`."""
        self.last.save(self.denoiser, self.content())

    def content(self) -> dict[str, Any]:
        """What a checkpoint holds."""
        scaler = self.precision.scaler
        return {
            "step": self.step,
            "model": self.denoiser.state_dict(),
            "opt": self.optimizer.state_dict(),
            "ema": self.ema.state_dict(),
            "scaler": scaler.state_dict() if scaler.is_enabled() else None,
            "version": FORMAT_VERSION,
        }

    def load(self) -> None:
        """Restores the state from the last checkpoint.

        Raises:
            InputError: there is no usable checkpoint of this run.
        """
        content = self.last.load(self.denoiser)
        try:
            self.ema.load_state_dict(content["ema"])
            self.optimizer.load_state_dict(content["opt"])
            if content["scaler"] is not None:
                self.precision.scaler.load_state_dict(content["scaler"])
            self.step = int(content["step"])
        except (KeyError, RuntimeError, TypeError, ValueError) as error:
            raise InputError(f"{self.last.path} is not what this run can be resumed from: {error}") from error
        self.last.say(f"resuming after step {self.step} from {self.last.path}")


def batches(loader: EpochLoader, steps: range) -> Iterator[list[Tensor]]:
    """Batches of the given steps, counted from 1; each depends only on its step, so that a run can be resumed."""
    step = steps.start - 1
    while step < steps.stop - 1:
        epoch, offset = divmod(step, len(loader))
        loader.start(epoch, offset)
        for batch in islice(loader, min(len(loader) - offset, steps.stop - 1 - step)):
            yield batch
            step += 1


def report(losses: list[Tensor], done: int, options: DenoiserOptions, log: RunLog) -> None:
    """Logs the mean of the losses since the last report, and clears them.

    Raises:
        InputError: one of them is not finite.
    """
    values = mean_over_processes(torch.stack(losses)).cpu()
    losses.clear()
    if not values.isfinite().all():
        first = done - len(values) + 1 + int((~values.isfinite()).nonzero()[0])
        raise InputError(f"step {first}: the loss is not finite; the last checkpoint is from before. Try a smaller --lr")
    log.info(f"step {done}/{options.steps} loss {values.mean():.5f}")
    log.scalars({"loss": values.mean().item(), "lr": options.lr}, done)


def write_samples(denoiser: GaussianDiffusion, options: DenoiserOptions, device: torch.device, done: int) -> None:
    """Writes a grid of samples from the denoiser, with the same noise in each call; `done`: steps so far."""
    shape = (3, options.image_size, options.image_size)
    numbers = range(options.num_samples)
    noise = sample_noise(derive_seed(Stream.SAMPLES, options.seed), 0, numbers, 0, shape, device)
    images = [denoiser.sample(part, options.sample_steps) for part in noise.split(options.batch_size)]
    grid = (torch.cat(images) * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    save_grid(grid, options.folder / "samples" / f"{done:06d}.png")


if __name__ == "__main__":
    run_script(in_processes(main, lambda args: shared_batch_of(parse(args))), memory_advice(DenoiserOptions))
