"""Images of many kinds, given to a network from Python, as upright RGB."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from utils.errors import InputError
from utils.images import open_rgb, to_8_bits, upright_rgb, white_of

ImageLike = str | os.PathLike | BinaryIO | Image.Image | np.ndarray | Tensor
"""An image: a file's path, an open file, a PIL image, an array (H, W) or (H, W, C), or a tensor (H, W) or (C, H, W).

C is 1 (grey), 2 (grey with transparency), 3 (RGB) or 4 (RGBA); transparency is dropped. Floats have the range 0 .. 1 and are
rounded to 8 bits; integers of more than 8 bits are scaled as those in files (`utils.images.to_rgb`).
"""
KINDS = "a path, an open file, a PIL image, an array (H, W) or (H, W, C), or a tensor (H, W) or (C, H, W)"


def as_rgb(image: ImageLike, white: float = 0.0) -> Image.Image:
    """An image of any kind as an upright RGB image; `white` is that of `utils.images.to_rgb`.

    Raises:
        InputError: it is none of these kinds, or cannot be read.
    """
    if isinstance(image, (str, os.PathLike)):
        return open_rgb(Path(image), white)
    if isinstance(image, Image.Image):
        try:
            return upright_rgb(image, white)
        except InputError as error:
            raise InputError(f"the image {error}") from error
        # Pillow reads a file when its pixels are asked for, and a damaged one can raise nearly anything.
        except Exception as error:
            raise InputError(f"the image cannot be read: {error}") from error
    if isinstance(image, Tensor):
        image = channels_last(image)
    if isinstance(image, np.ndarray):
        return Image.fromarray(rgb_of(image, white))
    if hasattr(image, "read"):
        return open_rgb(image, white)
    raise InputError(f"an image is {KINDS}, not {type(image).__name__}")


def name_of(image: object) -> str:
    """The name of an image in messages."""
    return str(image) if isinstance(image, (str, os.PathLike)) else "the image"


def several(images: Iterable[ImageLike]) -> Iterable[ImageLike]:
    """The images as they are.

    Raises:
        InputError: they are a single path, PIL image or open file.
    """
    if isinstance(images, (str, os.PathLike, Image.Image)) or hasattr(images, "read"):
        raise InputError(f"masks takes several images, such as a list of them: for one, {name_of(images)}, there is mask")
    return images


def channels_last(image: Tensor) -> np.ndarray:
    """A tensor (C, H, W) as an array (H, W, C), and (H, W) as it is.

    Raises:
        InputError: it is a batch.
    """
    if image.ndim == 4:
        raise InputError(f"a tensor of shape {tuple(image.shape)} is a batch: give its images one by one")
    if image.ndim == 3 and len(image) not in (1, 2, 3, 4):
        raise InputError(f"an image as a tensor is (H, W) or (C, H, W) with C of 1 to 4, not {tuple(image.shape)}")
    image = image.detach().cpu()
    image = image.float() if image.dtype == torch.bfloat16 else image  # which NumPy does not have
    return (image.permute(1, 2, 0) if image.ndim == 3 else image).numpy()


def rgb_of(values: np.ndarray, white: float) -> np.ndarray:
    """An array (H, W) or (H, W, C) as (H, W, 3) uint8.

    Raises:
        InputError: shape, type or values are not those of an image.
    """
    grey = values[:, :, None] if values.ndim == 2 else values
    if grey.ndim != 3 or grey.shape[2] not in (1, 2, 3, 4) or grey.dtype.kind not in "uif":
        raise InputError(f"an image is {KINDS} with C of 1 to 4, not {values.dtype} {values.shape}")
    if not values.size:
        raise InputError("the image has no pixels")
    colors = grey[:, :, : 1 if grey.shape[2] < 3 else 3]
    if colors.dtype.kind == "f":
        if not ((colors >= 0) & (colors <= 1)).all():
            raise InputError("the image has floats outside of 0 to 1: divide them by the value that is white")
        colors = (colors.astype(np.float32) * 255).round().astype(np.uint8)
    elif colors.dtype != np.uint8:
        try:
            colors = to_8_bits(colors, white or white_of(colors, 0.0))
        except InputError as error:
            raise InputError(f"the image {error}") from error
    return np.ascontiguousarray(np.broadcast_to(colors, (*colors.shape[:2], 3)))
