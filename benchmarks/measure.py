"""Shared by the benchmarks: time, memory, a yardstick measured on the same machine, and the Markdown table."""

import argparse
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

HEADER = "| work | seconds | GFLOP | share of the matrix rate | peak memory |\n|---|---|---|---|---|"


PRODUCT_SIDE = 2048
PRODUCT_FLOPS = 2 * PRODUCT_SIDE**3
SMALL_SIDE = 512


@dataclass(frozen=True)
class Measurement:
    """One row of the table."""

    work: str
    seconds: float
    flops: float | None = None  # counted; None if the time is not spent on arithmetic
    rate: float | None = None  # FLOP/s of a matrix product on this machine, in the same run and precision
    memory: int | None = None  # bytes
    ratios: tuple[float, ...] = ()  # each call's time over that of the yardstick just before it; see `timed`
    note: str = ""  # a sentence below the table

    def __str__(self) -> str:
        gflop = f"{self.flops / 1e9:.0f}" if self.flops else ""
        share = (
            f"{self.flops / self.seconds / self.rate:.0%} of {self.rate / 1e9:.0f} GFLOP/s"
            if self.flops and self.rate
            else ""
        )
        memory = f"{self.memory / 1e9:.2f} GB" if self.memory else ""
        return f"| {self.work} | {self.seconds:.3f} | {gflop} | {share} | {memory} |"


def network_parser(program: str, description: str, repeats: int) -> argparse.ArgumentParser:
    """A parser of the flags common to all benchmarks of networks."""
    parser = argparse.ArgumentParser(prog=program, description=description.splitlines()[0])
    parser.add_argument("--device", default="auto", choices=("auto", "cuda", "mps", "cpu"))
    parser.add_argument("--amp", default="off", choices=("off", "bf16", "fp16"))
    parser.add_argument("--backbone", default="", help="timm's name of a transformer in the place of DeiT-S")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--repeats", type=int, default=repeats)
    return parser


def prefix(backbone: str) -> str:
    """Start of a row's name: the backbone, or nothing for DeiT-S."""
    return f"{backbone}: " if backbone else ""


def report(*measurements: Measurement) -> str:
    """The Markdown table of the measurements, with their notes below."""
    notes = [f"- {m.work}: {m.note}" for m in measurements if m.note]
    return "\n".join([HEADER, *map(str, measurements), *([""] if notes else []), *notes])


@dataclass(frozen=True)
class Timing:
    """What several calls took, each compared with a yardstick.

    Args:
        seconds: time of the fastest call.
        yardstick: time of the yardstick's fastest call in seconds.
        ratios: for each call, its time over that of the yardstick just before it. Ratios differ less than seconds do between
            machines, and between quiet and busy times of one machine.
    """

    seconds: float
    yardstick: float
    ratios: tuple[float, ...]

    def of(self, parts: int) -> "Timing":
        """The timing of one of several equal parts, such as the images of a batch."""
        return Timing(self.seconds / parts, self.yardstick, tuple(ratio / parts for ratio in self.ratios))


def timed(work: Callable[[], object], yardstick: Callable[[], object], repeats: int) -> Timing:
    """Times several calls after a warm-up call, each right after the yardstick."""
    work()
    yardstick()
    pairs = [(min(seconds_of(yardstick) for _ in range(3)), seconds_of(work)) for _ in range(repeats)]
    ratios = tuple(seconds / of_yardstick for of_yardstick, seconds in pairs)
    return Timing(min(seconds for _, seconds in pairs), min(of_yardstick for of_yardstick, _ in pairs), ratios)


def seconds_of(work: Callable[[], object]) -> float:
    """Seconds that a call takes."""
    synchronize()
    start = time.perf_counter()
    work()
    synchronize()
    return time.perf_counter() - start


def synchronize() -> None:
    """Waits for all CUDA kernels; does nothing without CUDA."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def product(device: torch.device, dtype: torch.dtype | None = None) -> Callable[[], object]:
    """The yardstick of arithmetic: a product of two matrices of `PRODUCT_SIDE`."""
    a = torch.randn(PRODUCT_SIDE, PRODUCT_SIDE, device=device, dtype=dtype or torch.float32)
    return lambda: a @ a


def is_faster(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether a type makes matrix products faster than float32; processors without bfloat16 emulate it, far slower."""
    a = torch.randn(SMALL_SIDE, SMALL_SIDE, device=device)
    b = a.to(dtype)
    timing = timed(lambda: b @ b, lambda: a @ a, repeats=3)
    return timing.seconds < timing.yardstick


def peak_memory(device: torch.device) -> int:
    """Peak memory in bytes: on a GPU of all tensors, on a CPU of the process, including libraries."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
