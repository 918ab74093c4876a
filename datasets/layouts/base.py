"""The data set in a folder, whichever layout it has."""

from pathlib import Path

import numpy as np

from utils.cams.masks import read_mask
from utils.errors import InputError

from ..classes import COCO_SPLITS, is_coco
from ..pixels import turned_like, upright_size
from .coco import CocoLayout
from .folder import FolderLayout, is_folder_data_set, may_be_own_images
from .folder_labels import label_files
from .voc import VocLayout

Layout = VocLayout | CocoLayout | FolderLayout


def is_data_set(root: Path, guess: bool = False) -> bool:
    """Whether a folder has a layout that `open_layout` knows, and images: masks of COCO may have its folders too.

    Args:
        root: the folder.
        guess: see `is_folder_data_set`.
    """
    if is_coco(root):
        return any(next((root / split).glob("*.jpg"), None) for split in COCO_SPLITS)
    return (root / "JPEGImages").is_dir() or is_folder_data_set(root, guess)


def open_layout(root: Path, sbd_path: str = "") -> Layout:
    """The data set in `root`: COCO's where it has `train2014` or `val2014`, VOC's where JPEGImages, else one's own.

    Args:
        root: folder of the data set.
        sbd_path: SBD release that VOC's training list is derived from; empty looks for `SBD` inside `root`.

    Raises:
        InputError: the folder has no layout, or the marks of two.
    """
    published = next((name for name in (*COCO_SPLITS, "JPEGImages") if (root / name).is_dir()), None)
    if published and (own := label_files(root)):
        raise InputError(f"{root} has both {published}/ and {own[0].name}: move the one away that does not count")
    if not published and may_be_own_images(root):
        return FolderLayout(root)
    return CocoLayout(root) if is_coco(root) else VocLayout(root, Path(sbd_path) if sbd_path else None)


def read_truth(layout: Layout, image_id: str) -> np.ndarray:
    """The mask of an image, (H, W) uint8 of the size at which `open_rgb` shows it.

    Raises:
        InputError: it is missing, no mask, or of another size.
    """
    path, image_path = layout.mask_path(image_id), layout.image_path(image_id)
    mask = turned_like(read_mask(path, None, len(layout.classes)), image_path)
    height, width = upright_size(image_path)
    if mask.shape != (height, width):
        raise InputError(f"{path} is {mask.shape[1]} x {mask.shape[0]} pixels, its image {width} x {height}")
    return mask
