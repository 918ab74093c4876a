"""Time and memory of a training step at full size: python -m benchmarks.training --amp bf16 --guidance shared

Prints a Markdown row: seconds per image (best of several), the share of the machine's matrix-product rate measured in the
same run and precision, and the peak memory. Random weights and images: neither time nor memory depends on them.
"""

import argparse
import sys

import torch
from torch.utils.flop_counter import FlopCounterMode

from diffusion import Guidance, build_denoiser
from models import DiGLoss, build_dig, imagenet_normalize
from utils.device import Precision, prepare_device
from utils.engine import TrainingStep
from utils.options import TrainOptions

from .measure import HEADER, Measurement, best_time, matrix_rate, peak_memory


def main(args: list[str]) -> None:
    # Options: those of the paper's recipe, but for the batch
    parser = argparse.ArgumentParser(prog="benchmarks.training", description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="auto", choices=("auto", "cuda", "mps", "cpu"))
    parser.add_argument("--amp", default="off", choices=("off", "bf16", "fp16"))
    parser.add_argument("--guidance", default="exact", choices=("exact", "shared"))
    parser.add_argument("--batch-size", type=int, default=2)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--grad-checkpoint", action="store_true")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args(args)
    device = prepare_device(options.device)
    precision = Precision(options.amp, device)
    recipe = TrainOptions(name="benchmark")

    # Networks
    denoiser = build_denoiser(recipe.diffusion_dim, recipe.input_size)
    guidance = Guidance(denoiser, recipe.feature_steps, recipe.image_step, options.guidance, recipe.patch_size)
    net = build_dig(grad_checkpoint=options.grad_checkpoint, **recipe.architecture)
    criterion = DiGLoss(recipe.W, recipe.T, recipe.A, start_epoch=0)
    step = TrainingStep(net, guidance, criterion, imagenet_normalize, precision).to(device).train()
    if options.compile:
        step.compile_networks()
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-5, fused=True)

    # Measure
    image01 = torch.rand(options.batch_size, 3, recipe.input_size, recipe.input_size, device=device)
    labels = (torch.rand(options.batch_size, net.num_classes, device=device) < 0.1).float()
    noise = {t: torch.randn_like(image01) for t in step.diffusion_steps(epoch=0)}

    def train() -> None:
        precision.backward(sum(step(image01, labels, noise, 0).values()))
        precision.step(optimizer)

    seconds = best_time(train, options.repeats) / options.batch_size
    memory = peak_memory(device)
    with FlopCounterMode(display=False) as counter:
        train()
    flops = counter.get_total_flops() / options.batch_size

    # Report
    kind = ", ".join([str(precision), options.guidance] + ["compiled"] * options.compile)
    kind += ", checkpointed" * options.grad_checkpoint
    work = f"training step per image, batch {options.batch_size}, {kind}"
    print(HEADER)
    print(Measurement(work, seconds, flops, matrix_rate(device, precision.dtype or torch.float32), memory))


if __name__ == "__main__":
    main(sys.argv[1:])
