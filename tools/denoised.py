"""How well a denoiser denoises, in numbers and pictures: python -m tools.denoised --weights FILE --data FOLDER"""

from utils.command_line import check_flags
from utils.options.tools.pictures import DenoisedOptions

if __name__ == "__main__":  # before the imports that take seconds
    check_flags(DenoisedOptions)

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from datasets.images import FolderImages, Visit
from datasets.lists import read_ids
from datasets.names import FileNames
from diffusion import GaussianDiffusion, Guidance
from diffusion.stand_ins import blur, psnr
from diffusion.trained import read_denoiser
from utils.animation import evenly_spaced
from utils.cams.pictures import save_picture
from utils.errors import InputError, run_script
from utils.files import whole_file
from utils.log import progress
from utils.machine.device import prepare_device
from utils.options.flags import memory_advice, parse_options
from utils.options.recipes import RECIPES
from utils.picture_table import Cell, Group, picture_table
from utils.training.seeding import Stream, derive_seed, sample_noise

USUAL_SIZE = 224
BLUR_SIGMAS = (0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
"""Standard deviations in pixels of the blur that the denoiser is compared with; at each step the best one counts."""
BATCH = 8
SIDE = 128
"""Longer side of the pictures in pixels."""
SAMPLES_ABREAST = 8
WAYS = ("noisy", "blurred", "denoised")

Results = Mapping[int, Mapping[str, Tensor]]
"""By diffusion step: images (n, 3, S, S) in [0, 1] for each of `WAYS`, and `sigma` of the blur in pixels."""


def main(args: list[str]) -> None:
    # Options
    options = parse_options(DenoisedOptions, args, "python -m tools.denoised", __doc__)
    device = prepare_device(options.device)
    size, out = options.image_size or size_of(Path(options.weights)), Path(options.out)

    # Denoiser and photographs
    denoiser = read_denoiser(Path(options.weights), size).to(device).eval()
    images, names = photographs(options, size)
    images = images.to(device)
    print(f"{options.weights}, width {denoiser.model.dim}, on {len(images)} photographs of {options.data} at {size} pixels")

    # Scores
    results = {step: noised_and_denoised(denoiser, images, step, options.seed) for step in progress(options.steps, "steps")}
    scores = {step: {way: psnr(result[way], images) for way in WAYS} for step, result in results.items()}
    sigmas = {step: float(result["sigma"]) for step, result in results.items()}
    print(table(scores, sigmas))
    write_scores(out / "denoised.json", options, size, len(images), scores, sigmas)

    # Pictures
    save_picture(denoised_picture(images, names, results, options), out / "denoised.png")
    written = [out / "denoised.json", out / "denoised.png"]
    if options.samples:
        save_picture(samples_picture(denoiser, size, options, device), out / "samples.png")
        written.append(out / "samples.png")
    print(f"done: {', '.join(map(str, written))}")


def size_of(weights: Path) -> int:
    """Image size in pixels of the recipe whose denoiser has this file name; `USUAL_SIZE` if there is none."""
    sizes = (
        recipe.denoiser["image_size"]
        for recipe in RECIPES.values()
        if Path(recipe.denoiser_file).name == weights.name and "image_size" in recipe.denoiser
    )
    return next(sizes, USUAL_SIZE)


def photographs(options: DenoisedOptions, size: int) -> tuple[Tensor, list[str]]:
    """Squares of photographs, (n, 3, size, size) in [0, 1], and their names.

    Raises:
        InputError: there are none, or one cannot be read.
    """
    images = FolderImages(Path(options.data), size, crop=True, seed=options.seed)
    if options.list:
        ids = set(read_ids(Path(options.list)))
        images.paths = FileNames([path for path in images.paths if path.stem in ids])
        if not len(images):
            raise InputError(f"{options.data} holds no photograph of {options.list}")
    shown = [*evenly_spaced(len(images), options.count)]
    pixels = torch.stack([images[Visit(0, index)][0] for index in shown])
    return pixels.float() / 255, [images.paths[index].stem for index in shown]


@torch.no_grad()
def noised_and_denoised(denoiser: GaussianDiffusion, images: Tensor, step: int, seed: int) -> dict[str, Tensor]:
    """Photographs with the noise of a diffusion step, and two ways to remove it.

    Args:
        denoiser: in evaluation mode.
        images: (n, 3, S, S) in [0, 1].
        step: the diffusion step.
        seed: of the noise.

    Returns:
        See `Results`; all are clipped to [0, 1]. `noisy`: with noise, at the brightness of the photograph; `blurred`: the
        same with the best blur; `denoised`: what `Guidance` gives to the transformer in training.
    """
    guidance = Guidance(denoiser, feature_steps=(0 if step else 1,), image_step=step)
    signal = denoiser.sqrt_alphas_cumprod[step]
    noisy, denoised = [], []
    for start in range(0, len(images), BATCH):
        part = images[start : start + BATCH]
        noise = {step: sample_noise(seed, 0, range(start, start + len(part)), step, part.shape[1:], part.device)}
        noisy.append((guidance.noised(part, step, noise)[0] / signal + 1) / 2)
        denoised.append(guidance.denoised(part, noise))
    scaled = torch.cat(noisy)
    blurs = [blur(scaled, sigma).clamp(0, 1) for sigma in BLUR_SIGMAS]
    best = max(range(len(blurs)), key=lambda i: psnr(blurs[i], images).mean().item())
    return {
        "noisy": scaled.clamp(0, 1),
        "blurred": blurs[best],
        "denoised": torch.cat(denoised).clamp(0, 1),
        "sigma": torch.tensor(BLUR_SIGMAS[best]),
    }


def table(scores: Mapping[int, Mapping[str, Tensor]], sigmas: Mapping[int, float]) -> str:
    """The means over all photographs as a text."""
    lines = ["", "PSNR in dB    noisy   blurred (sigma)   denoised"]
    for step, by_way in scores.items():
        noisy, blurred, denoised = (by_way[way].mean().item() for way in WAYS)
        lines.append(f"step {step:4d} {noisy:10.2f} {blurred:9.2f} ({sigmas[step]:4.2f} px) {denoised:10.2f}")
    return "\n".join([*lines, ""])


def write_scores(
    path: Path,
    options: DenoisedOptions,
    size: int,
    count: int,
    scores: Mapping[int, Mapping[str, Tensor]],
    sigmas: Mapping[int, float],
) -> None:
    """Writes the means over all photographs, with the settings, as JSON."""
    content = {
        "weights": options.weights,
        "data": options.data,
        "list": options.list,
        "images": count,
        "image_size": size,
        "seed": options.seed,
        "psnr_db": {
            str(step): {way: by_way[way].mean().item() for way in WAYS} | {"blur_sigma_px": sigmas[step]}
            for step, by_way in scores.items()
        },
    }
    with whole_file(path) as file:
        file.write((json.dumps(content, indent=1) + "\n").encode())


def denoised_picture(images: Tensor, names: Sequence[str], results: Results, options: DenoisedOptions) -> np.ndarray:
    """A row for each of some photographs: the photograph and, for every step, its noisy and its denoised version."""
    headings = ["photograph"]
    for step in results:
        headings += [f"step {step}:\nnoisy", "\ndenoised"]
    rows = []
    for i in evenly_spaced(len(images), options.rows):
        row = [Cell(as_picture(images[i]), names[i])]
        for result in results.values():
            for way in ("noisy", "denoised"):
                score = psnr(result[way][i : i + 1], images[i : i + 1]).item()
                row.append(Cell(as_picture(result[way][i]), f"{score:.1f} dB"))
        rows.append(row)
    title = f"{Path(options.weights).name}: photographs with noise, and denoised in one step"
    note = "Below each picture its PSNR: the higher, the nearer to the photograph. Noisy ones have its brightness restored."
    return picture_table([Group(rows)], SIDE, title, note, headings)


@torch.no_grad()
def samples_picture(denoiser: GaussianDiffusion, size: int, options: DenoisedOptions, device: torch.device) -> np.ndarray:
    """Images that the denoiser draws from pure noise."""
    numbers = range(options.samples)
    noise = sample_noise(derive_seed(Stream.SAMPLES, options.seed), 0, numbers, 0, (3, size, size), device)
    samples = torch.cat([denoiser.sample(part, options.sample_steps) for part in noise.split(BATCH)])
    cells = [Cell(as_picture(sample)) for sample in samples]
    rows = [cells[start : start + SAMPLES_ABREAST] for start in range(0, len(cells), SAMPLES_ABREAST)]
    title = f"{Path(options.weights).name}: images drawn from pure noise"
    return picture_table([Group(rows)], SIDE, title, f"DDIM, {options.sample_steps} network passes each.")


def as_picture(image: Tensor) -> np.ndarray:
    """(3, H, W) in [0, 1] as (H, W, 3) uint8."""
    return np.asarray((image.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu())


if __name__ == "__main__":
    run_script(main, memory_advice(DenoisedOptions))
