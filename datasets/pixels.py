"""The upright size of image files; and masks turned like their images."""

from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps

from utils.images import FORMATS, open_rgb, open_with_depth

__all__ = ["SIDEWAYS", "open_rgb", "open_with_depth", "turned_like", "upright_size"]

SIDEWAYS = (5, 6, 7, 8)
"""Values of EXIF's orientation with which width and height change places."""


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
