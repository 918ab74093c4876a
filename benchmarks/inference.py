"""Time and memory of full-size inference on one image with its mirror: python -m benchmarks.inference

Prints a Markdown row: seconds per image (best of several), the share of the machine's matrix-product rate measured in the
same run, and the peak memory of the process.
"""

import argparse
import resource
import sys
import time
from collections.abc import Callable

import torch
from torch.utils.flop_counter import FlopCounterMode

from models import build_dig
from utils.device import prepare_device


def main(args: list[str]) -> None:
    # Options
    parser = argparse.ArgumentParser(prog="benchmarks.inference", description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="auto", choices=("auto", "cuda", "mps", "cpu"))
    parser.add_argument("--size", type=int, nargs=2, default=(375, 500), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args(args)
    device = prepare_device(options.device)

    # Measure
    net = build_dig(lfca=False).eval().to(device)
    image, labels = torch.rand(3, *options.size, device=device), torch.tensor([0, 14], device=device)

    def infer() -> torch.Tensor:
        return net.cam(image, labels, tuple(options.size)).cpu()

    with FlopCounterMode(display=False) as counter:
        infer()
    seconds = best_time(infer, options.repeats)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    share = counter.get_total_flops() / seconds / matrix_rate(device)

    # Report
    print("| work | seconds | share of the matrix rate | peak memory |\n|---|---|---|---|")
    height, width = options.size
    print(f"| CAM of a {width} x {height} image with mirror, {device} | {seconds:.3f} | {share:.0%} | {peak / 1e9:.2f} GB |")


def best_time(work: Callable[[], object], repeats: int) -> float:
    """Seconds of the fastest of several calls, after one to warm up."""
    work()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def matrix_rate(device: torch.device, size: int = 2048) -> float:
    """Floating-point operations per second of a large float32 matrix product."""
    a = torch.randn(size, size, device=device)
    return 2 * size**3 / best_time(lambda: (a @ a)[0, 0].item(), 10)


if __name__ == "__main__":
    main(sys.argv[1:])
