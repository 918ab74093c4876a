"""Heat maps of CAMs, and grids of images."""

from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from ..files import whole_file


def cam_overlay(image: np.ndarray, cam: np.ndarray, opacity: float = 0.5) -> np.ndarray:
    """Blends the heat map of a CAM with its image.

    Args:
        image: (H, W, 3) uint8 RGB.
        cam: (H, W) in [0, 1].
        opacity: of the heat map.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    heat = np.asarray(cv2.applyColorMap((255 * cam.clip(0, 1)).astype(np.uint8), cv2.COLORMAP_JET))[:, :, ::-1]
    return ((1 - opacity) * image + opacity * heat).astype(np.uint8)


def save_grid(images: np.ndarray, path: Path) -> None:
    """Writes images (n, S, S, 3) uint8 as one PNG, in a grid that is as square as possible."""
    columns = int(np.ceil(len(images) ** 0.5))
    rows = -(-len(images) // columns)
    padding = np.zeros((rows * columns - len(images), *images.shape[1:]), np.uint8)
    cells = np.concatenate((images, padding)).reshape(rows, columns, *images.shape[1:])
    save_picture(np.concatenate(np.concatenate(cells, 1), 1), path)


def save_picture(picture: np.ndarray, path: Path) -> None:
    """Writes (H, W, 3) uint8 as a PNG, or as a JPEG if it is called .jpg; the file appears only when it is complete."""
    with whole_file(path) as file:
        if path.suffix == ".jpg":
            Image.fromarray(picture).save(file, "jpeg", quality=90, subsampling=0)  # which keeps the edges of colours
        else:
            Image.fromarray(picture).save(file, "png")
