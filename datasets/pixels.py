"""The upright size of image files, and masks turned by their images' EXIF orientation."""

from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps

from utils.cams.masks import read_mask
from utils.errors import InputError
from utils.images import FORMATS
from utils.tar_members import readable

SIDEWAYS = (5, 6, 7, 8)
"""Values of the EXIF orientation that swap width and height."""


def upright_size(path: Path) -> tuple[int, int]:
    """Height and width of an image as `open_rgb` returns it."""
    with Image.open(readable(path), formats=FORMATS) as image:
        return upright_size_of(image)


def upright_size_of(image: Image.Image) -> tuple[int, int]:
    """Height and width of an opened image when it is upright."""
    sideways = image.getexif().get(ExifTags.Base.Orientation) in SIDEWAYS
    if sideways and image.format != "TIFF":  # of a TIFF, Pillow gives the upright size before the pixels are read
        return (image.width, image.height)
    return (image.height, image.width)


def turned_like(mask: np.ndarray, image_path: Path) -> np.ndarray:
    """A mask in the orientation of its image as `open_rgb` returns it.

    Most tools draw masks on the upright image, some on the pixels as stored. The mask's size shows which, if the two sizes
    differ; otherwise the mask is assumed to be upright.

    Args:
        mask: (H, W).
        image_path: its image.
    """
    try:
        with Image.open(readable(image_path), formats=FORMATS) as image:
            orientation = image.getexif().get(ExifTags.Base.Orientation)
            stored = upright_size_of(image)[::-1]  # if it is sideways
            if orientation not in SIDEWAYS or stored[0] == stored[1] or mask.shape != stored:
                return mask
            turned = Image.fromarray(mask)
            turned.getexif()[ExifTags.Base.Orientation] = orientation
            return np.array(ImageOps.exif_transpose(turned))
    # Scoring needs the image for nothing else, so a missing or damaged one is no error.
    except Exception:
        return mask


def read_upright_mask(path: Path, image_path: Path, size: tuple[int, int], num_classes: int) -> np.ndarray:
    """The mask of an image, (H, W) of `label_type`, in the orientation of `open_rgb`.

    Args:
        path: of the mask.
        image_path, size: of the image, upright (height, width).
        num_classes: number of classes without background.

    Raises:
        InputError: it is missing, no mask, or differs from the image in size.
    """
    mask = turned_like(read_mask(path, None, num_classes), image_path)
    if mask.shape != size:
        found, wanted = (f"{width} x {height}" for height, width in (mask.shape, size))
        raise InputError(f"{path} is {found} pixels, its image {wanted}")
    return mask
