"""Time and memory of full-size inference on one image with its mirror: python -m benchmarks.inference --amp bf16

Prints a Markdown row: seconds per image (best of several), the share of the machine's matrix-product rate measured in the
same run and precision, and the peak memory.
"""

import sys
from collections.abc import Sequence

import torch
from torch.utils.flop_counter import FlopCounterMode

from models import build_dig
from utils.machine.device import Precision, prepare_device

from .measure import PRODUCT_FLOPS, Measurement, network_parser, peak_memory, prefix, product, report, timed


def main(args: list[str]) -> None:
    print(report(measure(args)))


def measure(args: Sequence[str]) -> Measurement:
    """Runs the benchmark with the flags of a command line."""
    # Options
    parser = network_parser("benchmarks.inference", __doc__, repeats=5)
    parser.add_argument("--size", type=int, nargs=2, default=(375, 500), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--batch-size", type=int, default=1)
    options = parser.parse_args(args)
    device = prepare_device(options.device)
    precision = Precision(options.amp, device)

    # Measure
    net = build_dig(lfca=False, backbone=options.backbone).eval().to(device)
    if options.compile:
        net.compile_blocks()
    images = torch.rand(options.batch_size, 3, *options.size, device=device)
    labels = torch.tensor([0, 14], device=device)

    def infer() -> None:
        with precision.autocast():
            prediction = net.predict([images])
        for i in range(options.batch_size):
            prediction.cams(i, labels, tuple(options.size)).cpu()

    timing = timed(infer, product(device, precision.dtype), options.repeats).of(options.batch_size)
    memory = peak_memory(device)
    with FlopCounterMode(display=False) as counter:
        infer()
    flops = counter.get_total_flops() / options.batch_size

    height, width = options.size
    kind = [str(precision)] + [f"batch {options.batch_size}"] * (options.batch_size > 1) + ["compiled"] * options.compile
    work = f"{prefix(options.backbone)}CAM of a {width} x {height} image with mirror, {', '.join(kind)}"
    return Measurement(work, timing.seconds, flops, PRODUCT_FLOPS / timing.yardstick, memory, timing.ratios)


if __name__ == "__main__":
    main(sys.argv[1:])
