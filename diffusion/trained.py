"""Trained denoisers: read from files, or built with random weights where a run asks for that."""

from collections.abc import Callable
from pathlib import Path

from utils.errors import InputError
from utils.training.checkpoint import load_file, load_strictly, state_dict_of

from .gaussian import GaussianDiffusion, build_denoiser

DENOISER_HINT = (
    "The README of the paper's own code links the published denoiser; train_diffusion.py trains one on a folder of images "
    "(with --exp dig_nano or dig_coco_eccv24: the one that this recipe looks for); --diffusion_weights random builds one "
    "that knows nothing, for tests"
)


def load_denoiser(
    weights: str, dim: int, image_size: int, say: Callable[[str], None] = lambda line: None
) -> GaussianDiffusion:
    """The denoiser that `--diffusion-weights` names.

    Args:
        weights: a file, or random.
        dim: width of a random denoiser; a file carries its own.
        image_size: side of the images in pixels.
        say: is called with a line for the log.

    Raises:
        InputError: the file is missing, damaged, or holds no denoiser.
    """
    if weights == "random":
        say(f"denoiser: random, width {dim}; its guidance means nothing")
        denoiser = build_denoiser(dim, image_size)
    else:
        path = published_spelling(Path(weights))
        denoiser = read_denoiser(path, image_size)
        say(f"denoiser: {path}, width {denoiser.model.dim}")
    return denoiser


def read_denoiser(path: Path, image_size: int) -> GaussianDiffusion:
    """The denoiser in a file, which sets its width, for images of `image_size` pixels.

    Raises:
        InputError: the file is missing, damaged, or holds no denoiser.
    """
    state = state_dict_of(load_file(path, DENOISER_HINT), path)
    if "model.init_conv.weight" not in state:
        raise InputError(f"{path} is no denoiser: it has no model.init_conv.weight")
    denoiser = build_denoiser(len(state["model.init_conv.weight"]), image_size)
    load_strictly(denoiser, state, path)
    return denoiser


def published_spelling(path: Path) -> Path:
    """The published denoiser under one of its names: `.pt`, `.pth`, and the misspelt `.ptht.pth`; other files as named."""
    if not path.stem.startswith("model-140-"):
        return path
    spellings = (path, path.with_suffix(".pth"), path.with_name(path.stem + ".ptht.pth"))
    return next((p for p in spellings if p.exists()), path)
