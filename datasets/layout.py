"""The data set in a folder, whichever layout it has."""

from pathlib import Path

from .classes import COCO_SPLITS, is_coco
from .coco import CocoLayout
from .voc import VocLayout

Layout = VocLayout | CocoLayout


def is_data_set(root: Path) -> bool:
    """Whether a folder has a layout that `open_layout` knows, and images: masks of COCO may have its folders too."""
    coco = any(next((root / split).glob("*.jpg"), None) for split in COCO_SPLITS)
    return coco or (root / "JPEGImages").is_dir()


def open_layout(root: Path, sbd_path: str = "") -> Layout:
    """The data set in `root`: COCO's layout where it has `train2014` or `val2014`, else VOC's.

    Args:
        root: folder of the data set.
        sbd_path: SBD release that VOC's training list is derived from; empty looks for `SBD` inside `root`.

    Raises:
        InputError: the folder has neither layout.
    """
    return CocoLayout(root) if is_coco(root) else VocLayout(root, Path(sbd_path) if sbd_path else None)
