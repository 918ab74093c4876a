"""The data set that belongs to a run."""

from pathlib import Path

from utils.errors import InputError
from utils.experiment import run_of
from utils.options.training import TrainOptions

from .layouts.base import Layout, open_layout


def open_run(folder: Path, exp: str, data_path: str, val_list: str) -> tuple[TrainOptions, Layout]:
    """Options of a run, and the data set to apply it to.

    Args:
        folder, exp, data_path, val_list: see `utils.experiment.run_of`.

    Raises:
        InputError: the recipe is not the run's, or the data set has other classes than the run.
    """
    run, classes = run_of(folder, exp, data_path, val_list)
    layout = open_layout(Path(run.data_path))
    if classes is not None and classes != layout.classes:
        raise InputError(f"{layout.root} has other classes than the run {folder} was trained on")
    return run, layout
