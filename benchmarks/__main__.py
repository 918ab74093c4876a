"""Runs all benchmarks, updates docs/performance.md and writes docs/performance.json: python -m benchmarks

Each benchmark runs in its own process, because peak memory is measured per process.
"""

import json
import multiprocessing
import platform
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import torch

from utils.errors import InputError, run_script
from utils.files import whole_file
from utils.log import progress
from utils.machine.cores import available_cores
from utils.machine.device import prepare_device

from . import evaluation, inference, memory, training
from .measure import Measurement, is_faster, report
from .pages import write_between

PAGE = Path(__file__).parents[1] / "docs" / "performance.md"
RATIOS = PAGE.with_suffix(".json")
"""What `benchmarks.compare` compares between commits."""
START, END = "<!-- measured: python -m benchmarks -->", "<!-- end -->"
WORK = (
    (training, ""),
    (training, "--amp bf16"),
    (training, "--amp bf16 --guidance shared"),
    (training, "--grad-checkpoint"),
    (training, "--grad-checkpoint --update-in-backward"),
    (training, "--backbone vit_small_patch14_dinov2"),
    (training, "--backbone vit_small_patch16_dinov3"),
    (inference, ""),
    (inference, "--amp bf16"),
    (inference, "--backbone vit_small_patch14_dinov2"),
    (inference, "--backbone vit_small_patch16_dinov3"),
    (evaluation, ""),
)
# FLOP/s of dense matrix products in TF32 and in bfloat16, from the data sheets.
GPUS = {"24 GB, RTX 4090": (82.6e12, 165.2e12), "80 GB, A100": (156e12, 312e12)}
SHARES = (0.25, 0.5)
"""Assumed range of the fraction of these rates that training reaches."""
BATCH = 32


def main(args: list[str]) -> None:
    if args:
        raise InputError(
            f"python -m benchmarks takes no flags, got {args[0]}; its parts do: python -m benchmarks.training -h"
        )
    # Measurements
    found: list[Measurement] = []
    has_bf16 = is_faster(prepare_device("auto"), torch.bfloat16)
    work = [(module, line) for module, line in WORK if has_bf16 or "bf16" not in line]
    for module, line in progress(work, "benchmarks"):
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            result = pool.submit(module.measure, line.split()).result()
        found += result if isinstance(result, list) else [result]

    # Page
    left_out = "" if has_bf16 else " bfloat16 is left out: this processor multiplies matrices faster in float32."
    text = "\n\n".join((machine() + left_out, report(*found), memory.table(), estimates(found)))
    write_between(PAGE, START, END, text)
    print(text)
    print(PAGE)

    # Ratios
    content = {"machine": machine(), "ratios": {one.work: [round(r, 4) for r in one.ratios] for one in found}}
    with whole_file(RATIOS) as file:
        file.write((json.dumps(content, indent=1) + "\n").encode())
    print(RATIOS)


def machine() -> str:
    """A sentence on the machine and the PyTorch version."""
    kind = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{available_cores()} cores, {processor()}"
    return f"Measured on {kind}, PyTorch {torch.__version__}; best of several calls."


def processor() -> str:
    """The processor's name, as far as the system provides it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def estimates(found: Sequence[Measurement]) -> str:
    """A table of estimated times of a step with `BATCH` images on other GPUs, from the FLOPs counted here."""
    rows = ["| estimate, not measured | precision | " + " | ".join(GPUS) + " |", "|---" * (len(GPUS) + 2) + "|"]
    for measurement in found:
        if not measurement.work.startswith("training step") or "checkpoints" in measurement.work:
            continue
        flops = measurement.flops or 0.0
        half = "bfloat16" in measurement.work
        spans = [
            " to ".join(f"{BATCH * flops / (rates[half] * share):.1f}" for share in reversed(SHARES)) + " s"
            for rates in GPUS.values()
        ]
        guidance = "shared" if "shared" in measurement.work else "exact"
        precision = "bfloat16" if half else "float32 (TF32)"
        rows.append(f"| step of {BATCH} images, {guidance} guidance | {precision} | {' | '.join(spans)} |")
    return "\n".join(rows)


if __name__ == "__main__":
    run_script(main)
