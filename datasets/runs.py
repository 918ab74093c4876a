"""The data set that belongs to a run."""

from pathlib import Path

from utils.errors import InputError
from utils.experiment.saved import run_of, seg_run_of
from utils.options.segmentation import SegOptions
from utils.options.training import TrainOptions

from .layouts.base import Layout, open_layout


def open_run(folder: Path, exp: str, data_path: str, val_list: str) -> tuple[TrainOptions, Layout]:
    """Options of a run, and the data set to apply it to.

    Args:
        folder, exp, data_path, val_list: see `utils.experiment.saved.run_of`.

    Raises:
        InputError: the recipe is not the run's, or the data set has other classes than the run.
    """
    run, classes = run_of(folder, exp, data_path, val_list)
    return run, layout_of(folder, run.data_path, classes)


def open_seg_run(folder: Path, data_path: str, val_list: str) -> tuple[SegOptions, Layout]:
    """`open_run` for a run of train_seg.py; see `utils.experiment.saved.seg_run_of`."""
    run, classes = seg_run_of(folder, data_path, val_list)
    return run, layout_of(folder, run.data_path, classes)


def layout_of(folder: Path, data_path: str, classes: tuple[str, ...] | None) -> Layout:
    """The data set at a path.

    Raises:
        InputError: it has other classes than the run in a folder was trained on.
    """
    layout = open_layout(Path(data_path))
    require_classes(layout, classes, folder)
    return layout


def require_classes(layout: Layout, classes: tuple[str, ...] | None, folder: Path) -> None:
    """Raises InputError if a data set has other classes than the run in a folder; None admits any."""
    if classes is not None and classes != layout.classes:
        raise InputError(f"{layout.root} has other classes than the run {folder} was trained on")
