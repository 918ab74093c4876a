"""Image files as RGB, upright; and masks turned like their images."""

import warnings
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps

from utils.errors import InputError
from utils.masks import FORMATS

SIDEWAYS = (5, 6, 7, 8)
"""Values of EXIF's orientation with which width and height change places."""


def open_rgb(path: Path) -> Image.Image:
    """An image file as RGB, turned upright where its EXIF data say that it was taken otherwise.

    Greyscale, palette, CMYK and 16-bit images are converted; transparency is dropped.

    Raises:
        InputError: it is missing or no readable image.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            warnings.filterwarnings("ignore", "Palette images with Transparency")
            with Image.open(path, formats=FORMATS) as file:
                image = ImageOps.exif_transpose(file)
                if image.mode.startswith("I"):  # of 16 bits, which "RGB" would cut off at 255
                    image = Image.fromarray((np.asarray(image).clip(0, 65535) // 257).astype(np.uint8))
                return image.convert("RGB")
    except FileNotFoundError as error:
        raise InputError(f"{path} is missing") from error
    # A damaged file, or damaged EXIF data in it, can raise nearly anything.
    except Exception as error:
        raise InputError(f"{path} is no readable image: {error}") from error


def upright_size(path: Path) -> tuple[int, int]:
    """Height and width at which `open_rgb` shows an image."""
    with Image.open(path, formats=FORMATS) as image:
        sideways = image.getexif().get(ExifTags.Base.Orientation) in SIDEWAYS
        return (image.width, image.height) if sideways else (image.height, image.width)


def turned_like(mask: np.ndarray, image_path: Path) -> np.ndarray:
    """A mask as upright as `open_rgb` shows its image.

    Masks are drawn on the upright picture by most tools, on the pixels as they are stored by some. Where the two have
    different sizes, the mask's tells which; else it is taken to be upright.

    Args:
        mask: (H, W).
        image_path: its image.
    """
    try:
        with Image.open(image_path, formats=FORMATS) as image:
            stored = (image.height, image.width)
            orientation = image.getexif().get(ExifTags.Base.Orientation)
            if orientation not in SIDEWAYS or stored[0] == stored[1] or mask.shape != stored:
                return mask
            turned = Image.fromarray(mask)
            turned.getexif()[ExifTags.Base.Orientation] = orientation
            return np.array(ImageOps.exif_transpose(turned))
    # Scoring needs the images for nothing else: one that is not there turns nothing.
    except Exception:
        return mask
