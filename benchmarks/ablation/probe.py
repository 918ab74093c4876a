"""What the denoiser's features know, and what denoising does to CAMs: python -m benchmarks.ablation.probe --run FOLDER

A linear probe is trained on frozen features, with image labels and with true masks, which the method itself never sees. It
shows what a linear layer can read from them: features of the denoiser, of an untrained one, of the pretrained trunk if the
run has one, and colours alone.
"""

import argparse
import json
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

import models
import train_trm
from datasets.layouts.base import Layout, open_layout, read_truth
from diffusion import Guidance, build_denoiser
from diffusion.stand_ins import BlurredImages, psnr
from diffusion.trained import load_denoiser
from utils.errors import InputError, run_script
from utils.experiment.folder import weights_of
from utils.experiment.saved import load_run
from utils.files import whole_file
from utils.images import open_rgb
from utils.log import progress
from utils.options.training import TrainOptions
from utils.scoring.classification import ClassificationTally
from utils.scoring.metrics import Confusion
from utils.training.seeding import sample_noise

from .results import commit

BATCH = 8
PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1)
"""Weights of the squared norm of a probe's weights; a fifth of the training images chooses."""
THRESHOLD = 0.4
"""Background score of the masks that are compared."""
Features = Callable[[Tensor, Sequence[int]], Tensor]
"""Images (B, 3, S, S) in [0, 1] and their numbers -> (B, K, h, w)."""


def main(args: list[str]) -> None:
    # Options
    parser = argparse.ArgumentParser(prog="benchmarks.ablation.probe", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--run", required=True, help="folder of a run of train_trm.py with a denoiser")
    parser.add_argument("--train-list", default="", help="list of the images that probes learn from; by default the run's")
    parser.add_argument("--score-list", default="val", help="list of the images that probes are scored on")
    parser.add_argument("--out", default="./experiment/ablation/probe.json", help="results")
    options = parser.parse_args(args)
    run = load_run(Path(options.run))
    if run is None:
        raise InputError(f"{options.run} holds no run of train_trm.py")
    settings, classes = run
    layout = open_layout(Path(settings.data_path))
    train_ids, score_ids = (
        layout.training_ids(options.train_list or settings.train_list)[0],
        layout.read_list(options.score_list),
    )

    # Probes
    labels, scored_labels = layout.labels(train_ids), layout.labels(score_ids)
    results: dict[str, Any] = {"commit": commit(), "images": [len(train_ids), len(score_ids)], "probes": {}}
    for name, features in feature_sources(settings).items():
        grids, truth = table_of(layout, train_ids, settings, features, name)
        scored, scored_truth = table_of(layout, score_ids, settings, features, name)
        results["probes"][name] = {
            "map": probe_labels(grids, labels, scored, scored_labels),
            "miou": probe_patches(grids, truth, scored, scored_truth, len(classes)),
        }

    # CAMs of denoised images
    results["cams"] = compare_cams(layout, score_ids, settings, Path(options.run), len(classes))
    print(markdown(results))
    with whole_file(Path(options.out)) as file:
        file.write((json.dumps(results, indent=1) + "\n").encode())


def markdown(results: dict[str, Any]) -> str:
    """Both tables in Markdown."""
    lines = ["| features | classes in the image, mAP in % | class of each patch, mIoU in % |", "|---|---|---|"]
    lines += [f"| {name} | {found['map']:.1f} | {found['miou']:.1f} |" for name, found in results["probes"].items()]
    lines += ["", "| image | PSNR in dB | CAMs differ by | IoU of masks in % |", "|---|---|---|---|"]
    lines += [
        f"| {name} | {found['psnr_db']:.1f} | {found['difference']:.3f} | {found['iou']:.1f} |"
        for name, found in results["cams"].items()
    ]
    return "\n".join(lines) + "\n"


def feature_sources(settings: TrainOptions) -> dict[str, Features]:
    """The features that are probed, on the patch grid, by their name."""
    denoiser = load_denoiser(settings.diffusion_weights, settings.diffusion_dim, settings.input_size)
    torch.manual_seed(0)
    untrained = build_denoiser(denoiser.model.dim, settings.input_size)
    stride = settings.patch_size

    def of_denoiser(guidance: Guidance, image01: Tensor, numbers: Sequence[int]) -> Tensor:
        return guidance.features(image01, noise_of(guidance, image01, numbers))

    def of_stem(stem: models.ConvStem, image01: Tensor, numbers: Sequence[int]) -> Tensor:
        return stem.features(models.standardize(image01, stem.mean, stem.std))

    def of_colours(image01: Tensor, numbers: Sequence[int]) -> Tensor:
        return torch.cat((F.avg_pool2d(image01, stride), F.avg_pool2d(image01.square(), stride)), dim=1)

    guides = [Guidance(one, **train_trm.guidance_settings(stride, settings)) for one in (denoiser, untrained)]
    sources: dict[str, Features] = {
        "colours": of_colours,
        "denoiser, untrained": partial(of_denoiser, guides[1]),
        "denoiser": partial(of_denoiser, guides[0]),
    }
    if settings.stem:
        stem = models.ConvStem(settings.stem, stride, 8, settings.stem_levels).eval()
        models.load_stem(stem, settings.stem_weights)
        sources["pretrained trunk"] = partial(of_stem, stem)
    return sources


def noise_of(guidance: Guidance, image01: Tensor, numbers: Sequence[int]) -> dict[int, Tensor]:
    """Noise of all steps of a guidance, which depends on the images' numbers alone."""
    shape = guidance.noise_shape(image01)
    steps = (*guidance.feature_steps, guidance.image_step)
    return {t: sample_noise(0, 0, numbers, t, shape, image01.device) for t in steps}


def batches(layout: Layout, ids: Sequence[str], settings: TrainOptions, name: str) -> Iterable[tuple[Tensor, list[int]]]:
    """Images squeezed to the network's input, (B, 3, S, S) in [0, 1], and their positions."""
    from torchvision.transforms import v2

    size = [settings.input_size] * 2
    for start in progress(range(0, len(ids), BATCH), name, -(-len(ids) // BATCH)):
        part = range(start, min(start + BATCH, len(ids)))
        images = [
            v2.functional.resize(open_rgb(layout.image_path(ids[i]), settings.white_level), size, antialias=True)
            for i in part
        ]
        yield torch.stack([v2.functional.pil_to_tensor(image) for image in images]).float() / 255, list(part)


@torch.no_grad()
def table_of(
    layout: Layout, ids: Sequence[str], settings: TrainOptions, features: Features, name: str
) -> tuple[Tensor, np.ndarray]:
    """Features (n, K, h, w) of images, and the class in the middle of each patch (n, h, w), 0 background, 255 ignored."""
    grids = torch.cat([features(images, numbers).float() for images, numbers in batches(layout, ids, settings, name)])
    h, w = grids.shape[-2:]
    truth = []
    for image_id in ids:
        mask = read_truth(layout, image_id)
        rows, columns = (((np.arange(n) + 0.5) * side / n).astype(int) for n, side in zip((h, w), mask.shape, strict=True))
        truth.append(mask[rows[:, None], columns])
    return grids, np.stack(truth)


def probe_labels(grids: Tensor, labels: np.ndarray, scored: Tensor, scored_labels: np.ndarray) -> float:
    """Mean average precision in percent of a linear probe of the features' mean and maximum for the image labels."""
    pooled, scored_pooled = (torch.cat((g.mean((2, 3)), g.amax((2, 3))), dim=1) for g in (grids, scored))
    x, scored_x = standardized(pooled, scored_pooled)
    y = torch.from_numpy(labels).float()

    def loss(logits: Tensor, target: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(logits, target)

    weights = chosen(x, y, labels.shape[1], loss, groups=torch.arange(len(x)))
    tally = ClassificationTally(labels.shape[1])
    for logits, truth in zip(linear(weights, scored_x), scored_labels, strict=True):
        tally.add(logits.sigmoid().numpy(), truth.nonzero()[0])
    return tally.scores().mean_ap


def probe_patches(grids: Tensor, truth: np.ndarray, scored: Tensor, scored_truth: np.ndarray, classes: int) -> float:
    """mIoU in percent of a linear probe for the class in the middle of each patch."""
    x, scored_x = standardized(*(g.movedim(1, -1).flatten(0, 2) for g in (grids, scored)))
    y = torch.from_numpy(truth.astype(np.int64)).flatten()
    known = y <= classes
    image = torch.arange(len(grids)).repeat_interleave(truth[0].size)
    weights = chosen(x[known], y[known], classes + 1, F.cross_entropy, groups=image[known])
    confusion = Confusion(classes)
    confusion.add(linear(weights, scored_x).argmax(1).numpy().astype(np.uint8), scored_truth.reshape(-1))
    return float(confusion.scores().miou[0])


def standardized(x: Tensor, scored: Tensor) -> tuple[Tensor, Tensor]:
    """Columns of (n, K) tables with the mean and standard deviation of the first one taken out."""
    mean, deviation = x.mean(0), x.std(0).clamp_min(1e-6)
    return (x - mean) / deviation, (scored - mean) / deviation


def chosen(x: Tensor, y: Tensor, outputs: int, loss: Callable[[Tensor, Tensor], Tensor], groups: Tensor) -> Tensor:
    """The weights of a probe (K + 1, outputs), with the penalty that is best on every fifth image."""
    held = groups % 5 == 4
    losses = {p: float(loss(linear(fit(x[~held], y[~held], outputs, loss, p), x[held]), y[held])) for p in PENALTIES}
    return fit(x, y, outputs, loss, min(losses, key=losses.__getitem__))


def fit(x: Tensor, y: Tensor, outputs: int, loss: Callable[[Tensor, Tensor], Tensor], penalty: float) -> Tensor:
    """Weights (K + 1, outputs) of the least loss with a penalty, by L-BFGS."""
    weights = torch.zeros(x.shape[1] + 1, outputs, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights], max_iter=60, history_size=10, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        total = loss(linear(weights, x), y) + penalty * weights[:-1].square().sum() / outputs
        total.backward()
        return total

    optimizer.step(closure)
    return weights.detach()


def linear(weights: Tensor, x: Tensor) -> Tensor:
    """(n, outputs) of a linear layer whose last row of weights is the bias."""
    return x @ weights[:-1] + weights[-1]


@torch.no_grad()
def compare_cams(
    layout: Layout, ids: Sequence[str], settings: TrainOptions, folder: Path, classes: int
) -> dict[str, dict[str, float]]:
    """How far the CAMs of changed images are from those of the images, for the classes in the image.

    Images without a label are left out.

    Returns:
        For denoised and for blurred images: PSNR in dB, mean absolute difference of the normalised refined CAMs, and the
        mean IoU in percent of masks at `THRESHOLD`.
    """
    net = models.load_network(weights_of(folder), classes, settings).eval()
    denoiser = load_denoiser(settings.diffusion_weights, settings.diffusion_dim, settings.input_size)
    options = train_trm.guidance_settings(net.patch_size, settings)
    guidance = Guidance(denoiser, **options)
    labels = torch.from_numpy(layout.labels(ids))
    ids, labels = [i for i, row in zip(ids, labels, strict=True) if row.any()], labels[labels.any(1)]
    some = next(iter(batches(layout, ids[:: max(1, len(ids) // BATCH)][:BATCH], settings, "blur")))[0]
    blurred = BlurredImages(some, denoiser, **options)
    found: dict[str, list[tuple[float, float, float]]] = {"denoised": [], "blurred": []}
    for image01, numbers in batches(layout, ids, settings, "CAMs"):
        own = maps(net, image01)
        changed = {
            "denoised": guidance.denoised(image01, noise_of(guidance, image01, numbers)),
            "blurred": blurred.denoised(image01),
        }
        for name, image in changed.items():
            other = maps(net, image)
            for b, number in enumerate(numbers):
                distance = cam_distance(own[b, labels[number]], other[b, labels[number]])
                found[name].append((float(psnr(image[b : b + 1].clamp(0, 1), image01[b : b + 1])), *distance))
    return {
        name: dict(zip(("psnr_db", "difference", "iou"), np.mean(values, axis=0).tolist(), strict=True))
        for name, values in found.items()
    }


def cam_distance(a: Tensor, b: Tensor) -> tuple[float, float]:
    """Mean absolute difference of CAMs (K, h, w), and mean IoU of their masks in percent."""
    both, either = ((a > THRESHOLD) & (b > THRESHOLD)).sum((1, 2)), ((a > THRESHOLD) | (b > THRESHOLD)).sum((1, 2))
    return float((a - b).abs().mean()), float(100 * (both / either.clamp_min(1)).mean())


def maps(net: models.DiG, image01: Tensor) -> Tensor:
    """The normalised refined CAMs (B, C, h, w) that loss 5 compares."""
    return models.normalize_cam(net(net.normalize(image01)).refined_cam)


if __name__ == "__main__":
    run_script(main)
