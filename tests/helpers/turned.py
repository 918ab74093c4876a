"""Pictures as cameras store them: turned, with an orientation in their EXIF data."""

from pathlib import Path

import numpy as np
from PIL import Image

ORIENTATION = 0x0112

STORED = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, 1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a, -1),
}
"""How a camera that writes some orientation stores an upright picture."""


def save_turned(picture: np.ndarray, path: Path, orientation: int) -> None:
    """Saves an upright picture (H, W, 3) uint8 as a camera with that orientation does."""
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    Image.fromarray(np.ascontiguousarray(STORED[orientation](picture))).save(path, exif=exif)
