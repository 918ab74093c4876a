"""Peak memory of training steps, counted without computing them: python -m benchmarks.memory denoiser --accum 2

A real training step runs on fake tensors, which have a shape but no values, and the bytes of all live tensors are added up.
This takes seconds for any size and needs no GPU. Memory of libraries and fragmentation are not counted. In float32 the count
also holds for GPUs; in bfloat16 it follows autocast's rules for CPUs, which keep less in float32 than those for GPUs.
"""

import argparse
import contextlib
import sys
import weakref
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import train_diffusion
from diffusion import GaussianDiffusion, build_denoiser
from models.weights import channel_table
from utils.log import RunLog
from utils.machine.device import Precision, make_deterministic
from utils.machine.interruptions import Interruptions
from utils.options.training import DenoiserOptions
from utils.training.backward_updates import update_in_backward
from utils.training.checkpoint import LastCheckpoint
from utils.training.engine import Training
from utils.training.guided_step import GuidedStep

from .training import NUM_CLASSES, SIDE, build_step, kept_bytes

CPU = torch.device("cpu")
UNSAVED = LastCheckpoint(Path(), {}, print)
"""For trainings that end before they save."""
HEADER = "| a step of training, counted | flags | peak memory |\n|---|---|---|"
WORK = (
    "dig",
    "dig --grad-checkpoint",
    "dig --update-in-backward",
    "dig --accum 2",
    "dig --accum 4 --grad-checkpoint",
    "dig --amp bf16",
    "dig --backbone vit_small_patch14_dinov2",
    "dig --backbone vit_small_patch16_dinov3",
    "denoiser",
    "denoiser --accum 2",
    "denoiser --grad-checkpoint",
    "denoiser --accum 2 --grad-checkpoint",
)
"""Rows of docs/performance.md."""


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of live tensors that were created in a block, now and at the peak."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self.known: set[int] = set()

    def __torch_dispatch__(self, function: Callable, types: object, args: tuple = (), kwargs: dict | None = None) -> Any:
        """Runs an operation and counts new memory in its result."""
        result = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor):
                self.count(tensor.untyped_storage())
        return result

    def count(self, storage: torch.UntypedStorage) -> None:
        """Adds a tensor's memory until it is freed; views of the same memory count once."""
        key, size = storage._cdata, storage.nbytes()
        if key not in self.known:
            self.known.add(key)
            self.now += size
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self.forget, key, size)

    def forget(self, key: int, size: int) -> None:
        """Subtracts freed memory."""
        self.known.discard(key)
        self.now -= size


def main(args: list[str]) -> None:
    print(HEADER)
    print(row(args))


def table() -> str:
    """The Markdown table of all rows of `WORK`, with a note on bfloat16."""
    cpu, cuda = (f"{kept_of_an_image(device) / 1e9:.3f} GB" for device in ("cpu", "cuda"))
    note = (
        f"- bfloat16 is counted as CPUs have it: {cpu} an image for the backward pass. CUDA, which keeps norms and softmax"
    )
    note += f" in float32, has {cuda}."
    return "\n".join([HEADER, *(row(line.split()) for line in WORK), "", note])


def row(args: Sequence[str]) -> str:
    """A row of the table."""
    options = parse(args)
    what = "DiG, the paper's setting" if options.training == "dig" else f"the denoiser, width {DenoiserOptions.dim}"
    flags = " ".join(f"`{flag}`" for flag in " ".join(args[1:]).replace(" --", "\n--").splitlines())
    return f"| {what}, batch {options.batch_size} | {flags} | {peak_bytes(options) / 1e9:.2f} GB |"


def parse(args: Sequence[str]) -> argparse.Namespace:
    """Options from a command line; the defaults are the paper's."""
    parser = argparse.ArgumentParser(prog="benchmarks.memory", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("training", choices=("dig", "denoiser"))
    parser.add_argument("--batch-size", type=int, default=0, help="0: the paper's, 32 and 16")
    parser.add_argument("--accum", type=int, default=1)
    parser.add_argument("--amp", default="off", choices=("off", "bf16"))
    parser.add_argument("--backbone", default="", help="timm's name; empty: DeiT-S")
    parser.add_argument("--guidance", default="exact", choices=("exact", "shared"))
    parser.add_argument("--grad-checkpoint", action="store_true")
    parser.add_argument("--update-in-backward", action="store_true", help="of dig")
    options = parser.parse_args(args)
    options.batch_size = options.batch_size or (32 if options.training == "dig" else DenoiserOptions.batch_size)
    return options


def peak_bytes(options: argparse.Namespace) -> int:
    """Peak bytes of the second step; from then on the optimiser's moments exist throughout a step."""
    make_deterministic()  # for the same attention kernels as in training
    precision = Precision(options.amp, CPU)
    with torch.device("meta"):  # timm's constructors read values, which fake tensors do not have
        step = build_step(precision, options.guidance, options.grad_checkpoint, options.backbone)
        denoiser = build_denoiser(grad_checkpoint=options.grad_checkpoint)
    with fake_tensors(), LiveBytes() as live:
        if options.training == "dig":
            update = dig_update(step.to_empty(device=CPU).train(), options)
        else:
            update = denoiser_update(denoiser.to_empty(device=CPU), precision, options)
        update()
        live.peak = live.now
        update()
    return live.peak


def dig_update(step: GuidedStep, options: argparse.Namespace) -> Callable[[], object]:
    """A function that runs one step of `train_trm.py`."""
    optimizer = torch.optim.AdamW(step.net.parameters(), fused=True)
    if options.update_in_backward:
        update_in_backward(optimizer)
    unlogged = cast(RunLog, None)
    training = Training(step, optimizer, 0, UNSAVED, unlogged, 1, Interruptions(), options.accum)
    images = torch.zeros(options.batch_size, 3, SIDE, SIDE, dtype=torch.uint8)
    labels = torch.ones(options.batch_size, NUM_CLASSES)
    return lambda: training.update(images, labels, list(range(options.batch_size)))


def denoiser_update(denoiser: GaussianDiffusion, precision: Precision, options: argparse.Namespace) -> Callable[[], object]:
    """A function that runs one step of `train_diffusion.py`; memory of averaged weights counts, but they are not updated."""
    average: Any = SimpleNamespace(weights=[torch.empty_like(p) for p in denoiser.parameters()], update=lambda: None)
    optimizer = train_diffusion.build_optimizer(denoiser, 1e-4, torch.device("cuda"))
    training = train_diffusion.DenoiserTraining(denoiser, average, optimizer, precision, UNSAVED, options.accum)
    images = torch.zeros(options.batch_size, 3, SIDE, SIDE, dtype=torch.uint8)
    return lambda: training.update(images, list(range(options.batch_size)), 0)


def kept_of_an_image(device: str) -> int:
    """Bytes per image that a bfloat16 step of DiG keeps for the backward pass, by autocast's rules for cpu or cuda."""
    make_deterministic()
    unused = Precision("off", CPU)
    with torch.device("meta"):
        step = build_step(unused, "exact", False, "")
    with fake_tensors(), rules_of_autocast(device, torch.bfloat16):
        step.to_empty(device=device).train()
        one = kept_bytes(lambda: loss(step, 1, device), step)
        two = kept_bytes(lambda: loss(step, 2, device), step)
    return two - one


def loss(step: GuidedStep, count: int, device: str) -> Tensor:
    """Sum of the losses of `count` images."""
    image01 = torch.zeros(count, 3, SIDE, SIDE, device=device)
    noise = {t: torch.zeros_like(image01) for t in step.noise_shapes(image01, epoch=0)}
    return sum(step(image01, torch.ones(count, NUM_CLASSES, device=device), noise, 0).values())


@contextlib.contextmanager
def fake_tensors() -> Iterator[None]:
    """Context with fake tensors, in which parameters on the meta device can be moved to another device."""
    try:
        with FakeTensorMode(allow_non_fake_inputs=True):
            yield
    finally:
        channel_table.cache_clear()  # what it has cached here has no values


@contextlib.contextmanager
def rules_of_autocast(device: str, dtype: torch.dtype) -> Iterator[None]:
    """torch.autocast, also for a device that this machine does not have."""
    before = torch.is_autocast_enabled(device), torch.get_autocast_dtype(device)
    torch.set_autocast_enabled(device, True)
    torch.set_autocast_dtype(device, dtype)
    try:
        yield
    finally:
        torch.clear_autocast_cache()
        torch.set_autocast_enabled(device, before[0])
        torch.set_autocast_dtype(device, before[1])


if __name__ == "__main__":
    main(sys.argv[1:])
