"""Ground truth and pseudo-masks: indexed PNGs, 0 background, 1 .. C classes, 255 ignored.

With more than 254 classes, they are grey PNGs of 16 bits, 65535 ignored.
"""

from pathlib import Path

import numpy as np
from PIL import Image

from ..errors import InputError
from ..files import whole_file
from ..images import FORMATS
from ..scoring.metrics import ignored_in, label_type

GREY_UNITS = {"L;2": 85, "L;4": 17}
"""What Pillow multiplies the values of grey PNGs of 2 and 4 bits by."""


def raw_mode(image: Image.Image) -> str:
    """How the pixels of an opened PNG are stored, such as "L;4"."""
    tile = getattr(image, "tile", ())
    return str(tile[0][3]) if tile else ""


def read_mask(path: Path, shape: tuple[int, int] | None, num_classes: int) -> np.ndarray:
    """Reads a label image.

    Args:
        path: the file.
        shape: (H, W) that it must have; None: any.
        num_classes: number of classes without background; only 0 .. num_classes and what is ignored may occur.

    Returns:
        (H, W) uint8, or uint16 for more than 254 classes.

    Raises:
        InputError: the file is missing, no label image, of another shape, or has an index above `num_classes`.
    """
    try:
        with Image.open(path, formats=FORMATS) as image:
            kind = label_type(num_classes)
            if image.mode not in (("P", "L") if kind is np.uint8 else ("I;16", "P", "L")):
                raise InputError(
                    f"{path} is no mask: it has mode {image.mode}, not one index per pixel; save the numbers of the classes "
                    "as a PNG of mode L or P"
                )
            unit = GREY_UNITS.get(raw_mode(image), 1)
            mask: np.ndarray = np.array(image).astype(kind, copy=False)
            if unit > 1:
                mask //= unit
    except FileNotFoundError as error:
        raise InputError(f"{path} is missing") from error
    except InputError:
        raise
    # A damaged file can raise nearly anything.
    except Exception as error:
        raise InputError(f"{path} is no readable image: {error}") from error
    if shape is not None and mask.shape != shape:
        raise InputError(f"{path} is {mask.shape[1]} x {mask.shape[0]} pixels, its image {shape[1]} x {shape[0]}")
    beyond = mask[(mask > num_classes) & (mask != ignored_in(mask))]
    if beyond.size:
        raise InputError(f"{path} holds class {beyond[0]}; there are {num_classes}")
    return mask


def write_mask(path: Path, mask: np.ndarray) -> None:
    """Writes (H, W) uint8 as an indexed PNG with VOC's colours, uint16 as a grey one; it appears when it is complete."""
    image = Image.fromarray(mask)
    if mask.dtype == np.uint8:
        image.putpalette(voc_palette().tobytes())
    with whole_file(path) as file:
        image.save(file, "png")


def voc_palette() -> np.ndarray:
    """VOC's colour map: (256, 3) uint8. Bits 0, 3, 6 of an index are the highest of red, 1, 4, 7 of green, 2, 5 of blue."""
    index = np.arange(256)
    bits = index[:, None] >> np.arange(8) & 1  # (256, 8), lowest first
    place = 128 >> np.arange(3)
    channels = [bits[:, channel::3] @ place[: bits[:, channel::3].shape[1]] for channel in range(3)]
    return np.stack(channels, 1).astype(np.uint8)
