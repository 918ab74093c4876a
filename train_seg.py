"""Trains a segmentation network on masks: python train_seg.py --name X_seg --masks experiment/X/png --exp seg_deeplab"""

from utils.command_line import check_flags
from utils.options.seg_recipes import seg_defaults
from utils.options.segmentation import TRUTH, AffinityOptions, MaskOptions, SegOptions

if __name__ == "__main__":  # before the imports that take seconds
    check_flags(SegOptions, seg_defaults)

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from timm.optim import param_groups_weight_decay

from datasets.check import check_images
from datasets.images import EpochLoader, InferenceLoader, epoch_loader
from datasets.layouts.base import Layout, find_mask, open_layout, read_truth
from datasets.segmentation import SegmentationImages, check_pairs, require_masks
from datasets.validation import validation_loader
from models import SegmentationNet, build_segmenter
from utils.errors import run_script
from utils.experiment.folder import add_score
from utils.experiment.saved import SEG, saved_white
from utils.experiment.start import open_experiment, parse_run, start_run
from utils.log import RunLog, progress, require_wandb
from utils.machine.compiler import require_compiler
from utils.machine.cores import loader_count
from utils.machine.device import Precision, hardware, prepare_device
from utils.machine.distributed import (
    first_on_each_machine,
    in_processes,
    is_main,
    job,
    local_world_size,
    process_group,
    restarted_job,
)
from utils.machine.interruptions import Interruptions
from utils.machine.memory import no_garbage_collection
from utils.options.flags import memory_advice
from utils.records import claim, claim_file, digest_of_all, made_with
from utils.scoring.metrics import Scores
from utils.segmentation.affinity import AffinityStep
from utils.segmentation.step import SegmentationStep
from utils.segmentation.validation import score_masks
from utils.training.checkpoint import LastCheckpoint, save_file
from utils.training.engine import Training
from utils.training.epochs import train_epochs
from utils.training.step import Step

MOMENTUM = 0.9


@dataclass(frozen=True)
class Goal:
    """What a script learns from masks: classes or affinities.

    Args:
        program, description: for `--help`.
        options: class of the script's options.
        defaults: function from a command line to the values of its recipe.
        kind: ending of the names of its inference weights: SEG or AFF.
    """

    program: str
    description: str | None
    options: type[SegOptions] | type[AffinityOptions]
    defaults: Callable[[Sequence[str]], Mapping[str, Any]]
    kind: str


CLASSES = Goal("train_seg.py", __doc__, SegOptions, seg_defaults, SEG)


def main(args: list[str], goal: Goal = CLASSES) -> None:
    # Options
    options = parse(args, goal)
    require_wandb(options.wandb)
    device = prepare_device(options.device)
    if options.compile:
        require_compiler(device)
    precision = Precision(options.amp, device)
    torch.manual_seed(options.seed)
    layout = open_layout(Path(options.data_path), options.sbd_path)

    with process_group(device, options.nproc, [options.folder]), RunLog(options.folder, silent=not is_main()) as log:
        # Data
        last = open_experiment(options)
        with no_garbage_collection():
            log.info(f"{options.exp} on {hardware(precision)}, {len(layout.classes)} classes of {layout.root}")
            train_loader = training_loader(layout, options, device, log)
            val_loader = None
            if isinstance(options, SegOptions):
                paths, usual = train_loader.dataset.paths, SegOptions.val_list
                val_loader = validation_loader(layout, options, device, log, paths, usual_list=usual, labelled=False)

        # Network
        weights = "none" if options.resume else options.encoder_weights  # a checkpoint has all of them
        channels = options.embed_dim if isinstance(options, AffinityOptions) else len(layout.classes) + 1
        net, source = build_segmenter(channels, **options.architecture, encoder_weights=weights)
        log.info(f"{options.arch} on {options.encoder}" + ("" if options.resume else f", {source}"))
        step = build_step(net, precision, options).to(device)
        if options.compile:
            net.compile_model()

        # Optimiser
        optimizer = build_optimizer(net, options)
        training = Training(
            step,
            optimizer,
            options.seed,
            LastCheckpoint(last, {"data": train_loader.dataset.digest(layout.classes)}, log.info),
            log,
            options.print_freq,
            Interruptions(options.ckpt_minutes),
            schedule=partial(set_learning_rate, optimizer, options),
            ema_decay=options.ema_decay,
        )
        training.start(train_loader, options.resume)
        if is_main():
            claim_masks(options, train_loader.dataset.masks)
            start_run(options, layout.classes, job(), train_loader.dataset.white)
            log.start_wandb(options.wandb, options.name, dataclasses.asdict(options))

        # Loop
        score = None
        if isinstance(options, SegOptions) and val_loader is not None:
            score = partial(score_epoch, training, val_loader, layout, options, len(train_loader))
        train_epochs(training, train_loader, options, options.epochs, goal.kind, save_weights, score)


def parse(args: list[str], goal: Goal = CLASSES) -> SegOptions | AffinityOptions:
    """The options of a command line, with a recipe's defaults."""
    return parse_run(goal.options, args, goal.program, goal.description, goal.defaults(args), restarted_job())


def shared_batch(args: list[str], goal: Goal = CLASSES) -> int:
    """The number of images that the processes share evenly: the batch size."""
    return parse(args, goal).batch_size


def build_step(net: SegmentationNet, precision: Precision, options: SegOptions | AffinityOptions) -> Step[SegmentationNet]:
    """The training step: from a batch to its losses."""
    if isinstance(options, AffinityOptions):
        return AffinityStep(net, precision, **options.reach)
    return SegmentationStep(net, precision)


def training_loader(
    layout: Layout, options: MaskOptions, device: torch.device, log: RunLog
) -> EpochLoader[SegmentationImages]:
    """Loader of this process's shard of the training images with their masks."""
    ids, source = layout.training_ids(options.train_list)
    paths, masks = [layout.image_path(i) for i in ids], mask_paths(layout, ids, options.masks)
    require_masks(masks)
    log.info(f"training on {len(ids)} images of {source} with masks of {masks[0].parent}")
    with first_on_each_machine():
        found = check_images(layout.root, paths, options.check_data, options.white_level, log.info)
    images = SegmentationImages(
        paths,
        masks,
        len(layout.classes),
        options.crop_size,
        options.train_size,
        options.scale,
        options.jitter,
        options.seed,
        options.white_level or found.white or (saved_white(options.folder) if options.resume else 0.0),
    )
    if is_main() and not options.resume and options.check_data != "never":
        check_pairs(images)
    workers = loader_count(options.num_workers, local_world_size())
    return epoch_loader(images, options.batch_size, options.seed, workers, device)


def mask_paths(layout: Layout, ids: list[str], masks: str) -> list[Path]:
    """The masks of images in the folder that `--masks` names."""
    return [layout.mask_path(i) if masks == TRUTH else find_mask(Path(masks), i) for i in ids]


def claim_masks(options: MaskOptions, masks: Sequence[Path]) -> None:
    """Records in the run's folder the settings that its masks were made with, and a digest of them.

    Args:
        options: of the run.
        masks: of its training images.

    Raises:
        InputError: the run is resumed, and its masks have since been made again with other settings, or edited.
    """
    kept = options.folder / "masks"
    if not options.resume:
        claim_file(kept).unlink(missing_ok=True)
    record = {"files": TRUTH} if options.masks == TRUTH else made_with(Path(options.masks), options.folder)
    if not options.resume or "contents" in made_with(kept, options.folder):  # earlier versions did not record them
        record = {**record, "contents": digest_of_all(progress(masks, "reading masks"))}
    claim(kept, record, "*", "The masks have changed: --overwrite trains on them from the start")


def build_optimizer(net: SegmentationNet, options: MaskOptions) -> torch.optim.Optimizer:
    """The optimiser: a smaller learning rate for the encoder; no weight decay on biases and other vectors."""
    groups = []
    for group in param_groups_weight_decay(net, options.weight_decay):
        of_encoder = [p for p in group["params"] if id(p) in net.encoder_parameters]
        others = [p for p in group["params"] if id(p) not in net.encoder_parameters]
        groups += [group | {"params": of_encoder, "lr_scale": options.encoder_lr}] if of_encoder else []
        groups += [group | {"params": others, "lr_scale": 1.0}] if others else []
    if options.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=options.lr, fused=True)
    return torch.optim.SGD(groups, lr=options.lr, momentum=MOMENTUM, fused=True)


def set_learning_rate(optimizer: torch.optim.Optimizer, options: MaskOptions, epochs_done: float) -> None:
    """Sets the learning rates of a step: a linear warm-up, times (1 - share of the steps done)^power."""
    warmup = min(1.0, epochs_done / options.warmup_epochs) if options.warmup_epochs else 1.0
    rate = options.lr * warmup * (1 - epochs_done / options.epochs) ** options.power
    for group in optimizer.param_groups:
        group["lr"] = rate * group["lr_scale"]


def save_weights(net: SegmentationNet, path: Path) -> None:
    """Writes the parameters that inference needs: all of them."""
    save_file(net.state_dict(), path)


def score_epoch(
    training: Training, loader: InferenceLoader, layout: Layout, options: SegOptions, steps: int, epoch: int
) -> None:
    """Scores the masks of an epoch; for the arguments see `train_trm.score_epoch`."""
    precision, truth = training.precision, partial(read_truth, layout)
    scores = score_masks(training.result, loader, precision, truth, len(layout.classes), training.interruptions)
    report_scores(scores, epoch, (epoch + 1) * steps, options, training.log)


def report_scores(scores: Scores, epoch: int, step: int, options: SegOptions, log: RunLog) -> None:
    """Logs an epoch's mIoU, at the step count of the losses, and adds it to scores.json."""
    miou = float(scores.miou[0])
    log.scalars({"mIoU": miou}, step)
    log.info(f"epoch {epoch} mIoU {miou:.2f} on {options.val_list}")
    if is_main():
        add_score(options.folder, epoch, {"miou": miou})


if __name__ == "__main__":
    run_script(in_processes(main, shared_batch), memory_advice(SegOptions))
