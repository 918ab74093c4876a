"""Uploaded photographs: their limits, and one line about those that cannot be used."""

import warnings
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from utils.errors import InputError
from utils.images import FORMATS, open_rgb


@dataclass(frozen=True)
class Limits:
    """Limits of a photograph's size."""

    megapixels: float
    megabytes: float


def open_upload(path: Path, limits: Limits, white: float = 0.0) -> Image.Image:
    """A photograph as upright RGB.

    Args:
        path: the file; messages give its name without the folder.
        limits: checked before the pixels are read.
        white: see `utils.images.to_rgb`.

    Raises:
        InputError: it is too large, or no readable image.
    """
    try:
        require_small(path, limits)
        return open_rgb(path, white)
    except InputError as error:
        raise InputError(one_line(str(error).replace(str(path), path.name))) from error


def require_small(path: Path, limits: Limits) -> None:
    """Raises InputError for a file that is missing, empty or over a limit; `open_rgb` refuses files that are no images."""
    try:
        size = path.stat().st_size
    except (OSError, ValueError) as error:  # ValueError: a name with NUL
        raise InputError(f"{path} is missing") from error
    if not size:
        raise InputError(f"{path} is empty")
    if size > 1e6 * limits.megabytes:
        raise InputError(f"{path} has {size / 1e6:.1f} MB; {limits.megabytes:g} MB are the limit")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path, formats=FORMATS) as image:
                width, height = image.size
    except Exception:  # a damaged file can raise nearly anything
        return
    if width * height > 1e6 * limits.megapixels:
        shape = f"{width} x {height} pixels, {width * height / 1e6:.1f} megapixels"
        raise InputError(f"{path} is {shape}; {limits.megapixels:g} are the limit")


def one_line(text: str) -> str:
    """A message without line breaks and other characters that cannot be shown."""
    return "".join(letter if letter.isprintable() else " " for letter in text)
