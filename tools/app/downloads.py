"""Files to download from the page: a mask as an indexed PNG or as polygons, and a picture of it with its legend."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from utils.cams.masks import write_mask
from utils.cams.pictures import save_picture
from utils.options.tools.polygons import TOLERANCE
from utils.picture_table import Cell, Entry, Group, picture_table
from utils.predictions import polygon_files
from utils.predictions.polygon_files import CocoFile

from .figures import outlined_mask, parts_of
from .photograph import Photograph

PICTURE_SIDE = 640
"""Longer side of the photograph in the picture with the legend, in pixels."""


def write_download(
    kind: str, folder: Path, photograph: Photograph, mask: np.ndarray, classes: Sequence[str], source: str
) -> Path:
    """Writes a file.

    Args:
        kind: one of `KINDS`.
        folder: where it goes; it is created if missing.
        photograph: the photograph; the file is named after it.
        mask: (H, W) uint8, 0 background, 1 .. C.
        classes: C names.
        source: source of the mask, for the picture's caption.

    Raises:
        InputError: it cannot be written.
    """
    suffix, write = KINDS[kind]
    path = folder / f"{photograph.name}{suffix}"
    write(path, photograph, mask, classes, source)
    return path


def write_png(path: Path, photograph: Photograph, mask: np.ndarray, classes: Sequence[str], source: str) -> None:
    """The mask as an indexed PNG, as `infer_trm.py --png` writes it."""
    write_mask(path, mask)


def write_coco(path: Path, photograph: Photograph, mask: np.ndarray, classes: Sequence[str], source: str) -> None:
    """The mask as polygons, in a file of COCO's annotations."""
    coco = CocoFile(classes, path.parent, TOLERANCE)
    coco.add(path.parent / photograph.file, mask)
    coco.write(path)


def write_labelme(path: Path, photograph: Photograph, mask: np.ndarray, classes: Sequence[str], source: str) -> None:
    """The mask as polygons, for labelme to open beside the photograph."""
    polygon_files.write_labelme(path, path.parent / photograph.file, mask, classes, TOLERANCE)


def write_picture(path: Path, photograph: Photograph, mask: np.ndarray, classes: Sequence[str], source: str) -> None:
    """The photograph beside its mask, with a legend."""
    image = np.asarray(photograph.image)
    row = [Cell(image, photograph.name), Cell(outlined_mask(image, mask), f"mask: {source}")]
    legend = [Entry(f"{part.name} {100 * part.share:.0f} %", part.color) for part in parts_of(mask, classes)]
    save_picture(picture_table([Group([row])], PICTURE_SIDE, legend=legend), path)


KINDS: dict[str, tuple[str, Callable[[Path, Photograph, np.ndarray, Sequence[str], str], None]]] = {
    "PNG": (".png", write_png),
    "COCO": ("_coco.json", write_coco),
    "labelme": (".json", write_labelme),
    "Picture": ("_picture.png", write_picture),
}
"""By kind of file: the end of its name, and the function that writes it."""
