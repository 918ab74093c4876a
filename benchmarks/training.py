"""Time and memory of a training step at full size: python -m benchmarks.training --amp bf16 --guidance shared

Prints a Markdown row: seconds per image (best of several), the share of the machine's matrix-product rate measured in the
same run and precision, and the peak memory. Weights and images are random: neither time nor memory depends on them.
"""

import sys
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from diffusion import Guidance, build_denoiser
from models import DiG, DiGLoss, build_dig
from utils.machine.device import Precision, prepare_device
from utils.options.training import TrainOptions
from utils.training.backward_updates import update_in_backward
from utils.training.guided_step import GuidedStep

from .measure import PRODUCT_FLOPS, Measurement, network_parser, peak_memory, prefix, product, report, timed

SIDE = TrainOptions.input_size
NUM_CLASSES = 20


def main(args: list[str]) -> None:
    print(report(measure(args)))


def measure(args: Sequence[str]) -> Measurement:
    """Runs the benchmark with the flags of a command line."""
    # Options: those of the paper's recipe, except the batch
    parser = network_parser("benchmarks.training", __doc__, repeats=3)
    parser.add_argument("--guidance", default="exact", choices=("exact", "shared"))
    parser.add_argument("--batch-size", type=int, default=2, help="at least 2")
    parser.add_argument("--grad-checkpoint", action="store_true")
    parser.add_argument("--update-in-backward", action="store_true")
    options = parser.parse_args(args)
    device = prepare_device(options.device)
    precision = Precision(options.amp, device)
    # Networks
    step = build_step(precision, options.guidance, options.grad_checkpoint, options.backbone, options.compile)
    step.to(device).train()
    optimizer = torch.optim.AdamW(step.net.parameters(), lr=1e-5, fused=True)
    if options.update_in_backward:
        update_in_backward(optimizer)

    # Measure
    image01 = torch.rand(options.batch_size, 3, SIDE, SIDE, device=device)
    labels = (torch.rand(options.batch_size, NUM_CLASSES, device=device) < 0.1).float()
    noise = {t: torch.randn_like(image01) for t in step.noise_shapes(image01, epoch=0)}

    def loss(count: int) -> Tensor:
        part = {t: n[:count] for t, n in noise.items()}
        return sum(step(image01[:count], labels[:count], part, 0).values())

    def train() -> None:
        precision.backward(loss(options.batch_size))
        precision.step(optimizer)

    timing = timed(train, product(device, precision.dtype), options.repeats).of(options.batch_size)
    memory = peak_memory(device)
    with FlopCounterMode(display=False) as counter:
        train()
    flops = counter.get_total_flops() / options.batch_size
    rate = PRODUCT_FLOPS / timing.yardstick

    # Use of the memory
    gradients = not options.update_in_backward
    fixed = 4 * sum(p.numel() * (3 + gradients if p.requires_grad else 1) for p in step.parameters())
    kept = kept_bytes(lambda: loss(2), step) - kept_bytes(lambda: loss(1), step)
    there = f"weights,{' gradients,' * gradients} moments and denoiser"
    note = f"{there} {fixed / 1e9:.2f} GB; for the backward pass {kept / 1e9:.3f} GB an image"
    kind = [str(precision), options.guidance] + ["compiled"] * options.compile + ["checkpoints"] * options.grad_checkpoint
    kind += ["updates in the backward pass"] * options.update_in_backward
    work = f"{prefix(options.backbone)}training step per image, batch {options.batch_size}, {', '.join(kind)}"
    return Measurement(work, timing.seconds, flops, rate, memory, timing.ratios, note)


def build_step(
    precision: Precision, guidance: str, grad_checkpoint: bool, backbone: str, compiled: bool = False
) -> GuidedStep[DiG]:
    """The training step of the paper's recipe, with all losses from epoch 0 on.

    Args:
        precision: of the networks.
        guidance: exact or shared.
        grad_checkpoint: see `TrainOptions`.
        backbone: timm's name of a transformer that replaces DeiT-S; empty: DeiT-S.
        compiled: compile the expensive parts of the networks at the first step.
    """
    recipe = TrainOptions(name="benchmark", backbone=backbone)
    net = build_dig(NUM_CLASSES, grad_checkpoint=grad_checkpoint, **recipe.architecture)
    denoiser = build_denoiser(recipe.diffusion_dim, recipe.input_size)
    guide = Guidance(denoiser, recipe.feature_steps, recipe.image_step, guidance, net.patch_size)
    if compiled:
        net.compile_blocks()
        guide.compile_denoiser()
    return GuidedStep(net, guide, DiGLoss(recipe.W, recipe.T, recipe.A, start_epoch=0), net.normalize, precision)


def kept_bytes(loss: Callable[[], Tensor], step: torch.nn.Module) -> int:
    """Bytes of the tensors that a forward pass keeps for the backward pass, without weights."""
    weights = {p.untyped_storage()._cdata for p in step.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in weights:
            kept[storage._cdata] = storage.nbytes()
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        total = loss()
    del total
    return sum(kept.values())


if __name__ == "__main__":
    main(sys.argv[1:])
