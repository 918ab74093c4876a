"""Trains DiG on image-level labels: python train_trm.py --name NAME --exp dig_eccv24"""

from __future__ import annotations  # so that the networks are imported when they are built

from utils.command_line import check_flags
from utils.options.recipes import recipe, train_defaults
from utils.options.training import TrainOptions, shared_batch_of

if __name__ == "__main__":  # before the imports that take seconds
    check_flags(TrainOptions, train_defaults)

import dataclasses
import logging
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

import models
from datasets.check import check_images
from datasets.images import EpochLoader, InferenceLoader, TrainingImages, Visit, epoch_loader
from datasets.layouts.base import Layout, open_layout, read_truth
from datasets.validation import validation_loader
from diffusion import GaussianDiffusion, Guidance
from diffusion.stand_ins import BlurredImages, OtherFeatures, SameImages
from diffusion.trained import load_denoiser
from utils.cams.validation import score_cams
from utils.cams.watched import WatchedCams
from utils.errors import InputError, run_script
from utils.experiment.folder import add_score
from utils.experiment.saved import TRM, saved_white
from utils.experiment.start import open_experiment, parse_run, start_run
from utils.log import RunLog, require_wandb
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
    require_equal_parts,
    restarted_job,
)
from utils.machine.interruptions import Interruptions
from utils.machine.memory import no_garbage_collection
from utils.options.flags import memory_advice
from utils.scoring.classification import ClassificationScores
from utils.scoring.metrics import Scores
from utils.training.backward_updates import update_in_backward
from utils.training.checkpoint import LastCheckpoint, digest_of_parameters, load_file, save_file, state_dict_of
from utils.training.engine import Training
from utils.training.epochs import train_epochs
from utils.training.guided_step import GuidedStep
from utils.training.seeding import seeded

if TYPE_CHECKING:
    from timm.scheduler import CosineLRScheduler

VIT_HINT = (
    "It is DeiT-S, published at https://dl.fbaipublicfiles.com/deit/deit_small_patch16_224-cd65a155.pth; "
    "--vit_weights timm downloads the same weights through timm, --vit_weights mimetic and none start without any"
)
BACKBONE_HINT = (
    "--vit_weights takes a file with the backbone's weights too (.pth or .safetensors, in timm's names or in those of its"
    " authors); --vit_weights mimetic and none start without any"
)
STEM_PREFIX = "patch_embed.trunk."
"""Prefix of the names of a stem's pretrained parameters."""
CALIBRATION_IMAGES = 64


def main(args: list[str], program: str = "train_trm.py", exp: str = "dig_eccv24") -> None:
    # Options
    options = parse(args, program, exp)
    require_wandb(options.wandb)
    device = prepare_device(options.device)
    if options.compile:
        require_compiler(device)
    precision = Precision(options.amp, device)
    torch.manual_seed(options.seed_of("weights"))
    layout = open_layout(Path(options.data_path), options.sbd_path)

    with process_group(device, options.nproc, [options.folder]), RunLog(options.folder, silent=not is_main()) as log:
        # Data
        last = open_experiment(options)
        with no_garbage_collection():
            log.info(f"{options.exp} on {hardware(precision)}, {len(layout.classes)} classes of {layout.root}")
            train_loader = training_loader(layout, options, device, log)
            paths, usual = train_loader.dataset.paths, recipe(options.exp).train.get("val_list")
            val_loader = validation_loader(
                layout, options, device, log, paths, usual_list=usual, scales=options.infer_scales
            )

        # Networks
        criterion, denoiser, net = build_networks(len(layout.classes), options, log)
        guidance = build_guidance(denoiser, net, train_loader.dataset, options, log) if denoiser is not None else None
        step = GuidedStep(net, guidance, criterion, net.normalize, precision).to(device)
        if options.compile:
            net.compile_blocks()
            if guidance is not None:
                guidance.compile_denoiser()
        if net.stem is not None and not options.resume:
            calibrate_stem(net.stem, train_loader.dataset)

        # Optimiser
        optimizer = build_optimizer(net, options)
        if options.update_in_backward:
            update_in_backward(optimizer)
        training = Training(
            step,
            optimizer,
            options.seed_of("noise"),
            LastCheckpoint(last, digests_of(train_loader.dataset, layout, denoiser), log.info),
            log,
            options.print_freq,
            Interruptions(options.ckpt_minutes),
            options.accum,
            schedule=partial(set_learning_rate, build_scheduler(optimizer, options), options),
            ema_decay=options.ema_decay,
        )
        training.start(train_loader, options.resume)
        if is_main():
            start_run(options, layout.classes, job(), train_loader.dataset.white)
            log.start_wandb(options.wandb, options.name, dataclasses.asdict(options))

        # Loop
        score = None
        if val_loader is not None:
            score = partial(score_epoch, training, val_loader, layout, options, len(train_loader))
        train_epochs(training, train_loader, options, options.epochs_now, TRM, save_inference_weights, score)


def parse(args: list[str], program: str = "train_trm.py", exp: str = "dig_eccv24") -> TrainOptions:
    """The options of a command line, with a recipe's defaults."""
    return parse_run(TrainOptions, args, program, __doc__, train_defaults(args, exp), restarted_job())


def shared_batch(args: list[str], program: str = "train_trm.py", exp: str = "dig_eccv24") -> int:
    """The number of images that the processes share evenly."""
    return shared_batch_of(parse(args, program, exp))


def digests_of(images: TrainingImages, layout: Layout, denoiser: GaussianDiffusion | None) -> dict[str, str]:
    """What a resumed run must find unchanged: training images with their labels, and denoiser."""
    return {
        "data": images.digest(layout.classes),
        "denoiser": digest_of_parameters(denoiser) if denoiser is not None else "",
    }


def score_epoch(
    training: Training, loader: InferenceLoader, layout: Layout, options: TrainOptions, steps: int, epoch: int
) -> None:
    """Scores the CAMs and labels of an epoch, and logs the pictures of a few images.

    Args:
        training, layout, options: those of the run.
        loader: of this process's shard of the validation images.
        steps: of an epoch.
        epoch: counted from 0.
    """
    watched, truth, done = WatchedCams(loader.dataset, layout.classes), partial(read_truth, layout), (epoch + 1) * steps
    precision, interruptions = training.precision, training.interruptions
    scores = score_cams(training.result, loader, precision, truth, len(layout.classes), interruptions, watched.add)
    report_scores(*scores, epoch, done, options, training.log)
    training.log.pictures(watched.pictures, done)


def report_scores(
    scores: Scores, labels: ClassificationScores, epoch: int, step: int, options: TrainOptions, log: RunLog
) -> None:
    """Logs an epoch's scores of CAMs and labels, at the step count of the losses, and adds them to scores.json."""
    found = {"mIoU": scores.miou[scores.best], "threshold": scores.thresholds[scores.best]}
    found |= {"mAP": labels.mean_ap, "F1": labels.f1}
    log.scalars(found, step)
    at = f"{found['mIoU']:.2f} at threshold {found['threshold']:.2f}"
    log.info(f"epoch {epoch} mIoU {at} on {options.val_list}; {labels}")
    if is_main():
        add_score(options.folder, epoch, {name.lower(): value for name, value in found.items()})


def training_loader(layout: Layout, options: TrainOptions, device: torch.device, log: RunLog) -> EpochLoader[TrainingImages]:
    """Loader of this process's shard of the training images that have a label."""
    ids, source = layout.training_ids(options.train_list)
    with first_on_each_machine():
        labels = layout.labels(ids)
    for note in layout.notes if is_main() else ():  # finding them takes a walk over all files
        log.info(note)
    labelled = np.flatnonzero(labels.any(1))
    log.info(f"training on {len(labelled)} images of {source}; {len(ids) - len(labelled)} left out for having no label")
    counts = zip(layout.classes, labels.sum(0).tolist(), strict=True)
    log.info(f"images of each class: {', '.join(f'{name} {count}' for name, count in counts)}")
    paths = [layout.image_path(ids[i]) for i in labelled]
    with first_on_each_machine():
        found = check_images(layout.root, paths, options.check_data, options.white_level, log.info)
    images = TrainingImages(
        paths,
        labels[labelled],
        options.input_size,
        options.scale,
        options.ratio,
        options.seed_of("images"),
        options.aa,
        options.white_level or found.white or (saved_white(options.folder) if options.resume else 0.0),
    )
    require_equal_parts(options.batch_size, options.accum)
    workers = loader_count(options.num_workers, local_world_size())
    return epoch_loader(images, options.batch_size, options.seed_of("images"), workers, device)


def build_networks(
    num_classes: int, options: TrainOptions, log: RunLog
) -> tuple[models.DiGLoss, GaussianDiffusion | None, models.DiG]:
    """The losses, the denoiser if a loss uses it, and the network, which has LFCA if a loss uses it."""
    criterion = models.DiGLoss(options.W, options.T, options.A, options.start_epoch, options.guided_from)
    guided = criterion.has_diffusion_branch or criterion.uses_denoised(options.epochs - 1)
    named = (options.diffusion_weights, options.diffusion_dim, options.input_size)
    denoiser = load_denoiser(*named, log.info) if guided else None
    channels = denoiser.model.feature_channels if denoiser is not None and criterion.has_diffusion_branch else None
    return criterion, denoiser, build_network(num_classes, channels, options, log)


def build_guidance(
    denoiser: GaussianDiffusion, net: models.DiG, images: TrainingImages, options: TrainOptions, log: RunLog
) -> Guidance:
    """The guidance that `--guide` names, with features on the transformer's patch grid."""
    settings = guidance_settings(net.patch_size, options)
    if options.guide == "blur":
        blurred = BlurredImages(calibration_pixels(images), denoiser, **settings)
        log.info(f"guide: blur of {blurred.sigma:.2f} pixels for denoised images, both of {blurred.psnr:.2f} dB")
        return blurred
    if options.guide == "stem":
        channels = denoiser.model.feature_channels
        log.info(f"guide: {channels} random projections of {options.stem} for the denoiser's features")
        with seeded(options.seed_of("weights")):  # so that they are the same after a resume
            stem = models.ConvStem(options.stem, net.patch_size, channels, options.stem_levels)
            models.load_stem(stem, options.stem_weights)
            torch.nn.init.orthogonal_(stem.proj.weight)
        calibrate_stem(stem, images)
        return OtherFeatures(stem, partial(models.standardize, mean=stem.mean, std=stem.std), denoiser, **settings)
    return (SameImages if options.guide == "image" else Guidance)(denoiser, **settings)


def guidance_settings(patch_size: int, options: TrainOptions) -> dict[str, Any]:
    """Arguments of `Guidance` beside the denoiser."""
    return {
        "feature_steps": options.feature_steps,
        "image_step": options.image_step,
        "mode": options.guidance,
        "stride": patch_size,
        "size": options.guidance_size,
    }


def build_network(num_classes: int, feature_channels: int | None, options: TrainOptions, log: RunLog) -> models.DiG:
    """The network, initialised as `--vit-weights` and `--stem-weights` say; without LFCA if `feature_channels` is None."""
    net = models.build_dig(
        num_classes,
        lfca=feature_channels is not None,
        feature_steps=len(options.feature_steps),
        feature_channels=feature_channels or 0,
        drop_path=options.drop_path,
        lfca_drop_path=options.lfca_drop_path,
        grad_checkpoint=options.grad_checkpoint,
        **options.architecture,
    )
    if net.stem is not None:
        net.stem.freeze(None if options.stem_lr == 0 else options.stem_frozen)
    if options.resume:
        return net  # its weights are in the checkpoint
    if net.stem is not None:
        log.info(f"stem: {options.stem}, {models.load_stem(net.stem, options.stem_weights)}")
    log.info(f"transformer: {describe(net)}, {options.transformer_weights.replace('none', 'random')}")
    initialize_transformer(net, options.transformer_weights)
    return net


def describe(net: models.DiG) -> str:
    """The transformer in a few words."""
    grid = f"{net.grid_size} x {net.grid_size} patches of {net.patch_size} pixels"
    return f"{net.backbone or 'DeiT'} of {len(net.blocks)} blocks, width {net.embed_dim}, {grid}"


def initialize_transformer(net: models.DiG, source: str) -> None:
    """Gives the transformer its initial weights.

    Args:
        net: the network, with random weights.
        source: a file, timm, mimetic or none.

    Raises:
        InputError: the weights are missing or do not fit.
    """
    if source == "none":
        return
    if source == "mimetic":
        models.init_mimetic(net)
        return
    hint = BACKBONE_HINT if net.backbone else VIT_HINT
    if source == "timm":
        name = net.backbone or models.DEIT_SMALL
        import timm

        try:
            state = timm.create_model(name, pretrained=True).state_dict()
        # However the download fails, the message names the alternatives.
        except Exception as error:
            raise InputError(f"timm could not provide {name}: {error}. {hint}") from error
    else:
        state = state_dict_of(load_file(Path(source), hint), Path(source))
    load = models.load_backbone if net.backbone else models.load_deit
    try:
        load(net, state)
    except ValueError as error:
        raise InputError(f"{source} does not fit the network: {error}") from error


def calibration_pixels(images: TrainingImages) -> Tensor:
    """Some training images, the same in every process: (n, 3, S, S) in [0, 1]."""
    picked = torch.linspace(0, len(images) - 1, min(len(images), CALIBRATION_IMAGES)).round().int().tolist()
    return torch.stack([images[Visit(0, index)].image for index in picked]).float() / 255


def calibrate_stem(stem: models.ConvStem, images: TrainingImages) -> None:
    """Standardises the channels of a stem's features on some training images."""
    pixels = calibration_pixels(images).to(stem.center.device)
    stem.calibrate(models.standardize(pixels, stem.mean, stem.std))


def build_optimizer(net: models.DiG, options: TrainOptions) -> torch.optim.AdamW:
    """AdamW without weight decay on biases, other vectors, class tokens and positions; a stem has a rate of its own."""
    from timm.optim import param_groups_weight_decay

    groups = param_groups_weight_decay(net, options.weight_decay, no_weight_decay_list=net.no_weight_decay())
    trunk = {id(parameter) for name, parameter in net.named_parameters() if name.startswith(STEM_PREFIX)}
    for group in tuple(groups):
        learning = [parameter for parameter in group["params"] if id(parameter) in trunk]
        if learning:
            group["params"] = [parameter for parameter in group["params"] if id(parameter) not in trunk]
            groups.append(group | {"params": learning, "lr_scale": options.stem_lr})
    return torch.optim.AdamW(groups, lr=options.scaled_lr, fused=True)


def build_scheduler(optimizer: torch.optim.Optimizer, options: TrainOptions) -> CosineLRScheduler:
    """Learning rate by epochs done: linear warm-up, then the cosine as if there had been none."""
    from timm.scheduler import CosineLRScheduler

    # timm warns about a cosine over a single epoch, which is fine for a trial run.
    logging.getLogger(CosineLRScheduler.__module__).setLevel(logging.ERROR)
    return CosineLRScheduler(
        optimizer,
        t_initial=options.epochs,
        lr_min=options.min_lr,
        warmup_t=options.warmup_epochs,
        warmup_lr_init=options.warmup_lr,
    )


def set_learning_rate(scheduler: CosineLRScheduler, options: TrainOptions, epochs_done: float) -> None:
    """Sets the learning rate of a step, from the number of epochs done; their fraction counts with `--lr-by step` alone."""
    done = epochs_done if options.lr_by == "step" else int(epochs_done)
    scheduler.step(done)  # type: ignore[arg-type]  # timm declares int, and computes with fractions


def save_inference_weights(net: models.DiG, path: Path) -> None:
    """Writes the parameters that inference needs: all but LFCA's."""
    state = net.state_dict()
    save_file({name: value for name, value in state.items() if not name.startswith(models.LFCA_PREFIXES)}, path)


if __name__ == "__main__":
    run_script(in_processes(main, shared_batch), memory_advice(TrainOptions))
