"""Images as RGB, upright: files of every kind, and what is in memory already."""

import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from .errors import InputError

SUFFIXES = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "PNG": (".png",),
    "WEBP": (".webp",),
    "BMP": (".bmp", ".dib"),
    "GIF": (".gif",),
    "TIFF": (".tif", ".tiff"),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
}
"""Suffixes in lower case by the kind of image file, as pillow names kinds."""
FORMATS = tuple(SUFFIXES)
"""Kinds of image files that are read, whatever their names say: some others run programs."""
IMAGE_SUFFIXES = tuple(suffix for suffixes in SUFFIXES.values() for suffix in suffixes)
"""The most frequent first."""


def is_image_name(name: str) -> bool:
    """Whether the suffix is one of images, and the file not hidden."""
    return not name.startswith(".") and name.lower().endswith(IMAGE_SUFFIXES)


def open_rgb(path: Path) -> Image.Image:
    """An image file as RGB, turned upright where its EXIF data say that it was taken otherwise.

    Raises:
        InputError: it is missing or no readable image.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            warnings.filterwarnings("ignore", "Palette images with Transparency")
            with Image.open(path, formats=FORMATS) as file:
                return upright_rgb(file)
    except FileNotFoundError as error:
        raise InputError(f"{path} is missing") from error
    # A damaged file, or damaged EXIF data in it, can raise nearly anything.
    except Exception as error:
        raise InputError(f"{path} is no readable image: {error}") from error


def upright_rgb(image: Image.Image) -> Image.Image:
    """An image of any mode as RGB, turned upright as its EXIF data say.

    Greyscale, palette, CMYK and 16-bit images are converted; transparency is dropped.
    """
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):  # of 16 bits, which "RGB" would cut off at 255
        image = Image.fromarray((np.asarray(image).clip(0, 65535) // 257).astype(np.uint8))
    return image.convert("RGB")
