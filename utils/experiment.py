"""The folder of an experiment: opened by training, consulted by inference and evaluation."""

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path

from .errors import InputError
from .options import OPTIONS_FILE, LoopOptions, RunOptions, TrainOptions, load_run, make_options, save_options
from .recipes import recipe

LAST = "last.pth"
"""Everything that resuming needs."""


def epoch_file(folder: Path, epoch: int) -> Path:
    """The inference weights of an epoch: `<folder>/ckpt/019net_trm.pth`."""
    return folder / "ckpt" / f"{epoch:03d}net_trm.pth"


def latest_epoch(folder: Path) -> int:
    """The last epoch that left inference weights.

    Raises:
        InputError: there is none.
    """
    epochs = [int(m[1]) for p in (folder / "ckpt").glob("*net_trm.pth") if (m := re.fullmatch(r"(\d+)net_trm\.pth", p.name))]
    if not epochs:
        raise InputError(f"{folder / 'ckpt'} holds no <epoch>net_trm.pth; train first or give --weights FILE")
    return max(epochs)


def open_experiment(options: LoopOptions | RunOptions) -> Path:
    """Makes the folder of a training run, and keeps an earlier one from being overwritten by accident.

    Returns:
        The checkpoint to resume from; it exists only with `--resume`.

    Raises:
        InputError: the experiment holds a run and neither `--resume` nor `--overwrite` was given, or there is nothing to
            resume.
    """
    last = options.folder / "ckpt" / LAST
    if options.resume and options.overwrite:
        raise InputError("--resume and --overwrite exclude each other")
    if options.resume and not last.exists():
        raise InputError(f"{last} is missing: there is no run to resume")
    if last.exists() and not (options.resume or options.overwrite):
        raise InputError(f"{options.folder} holds a run already: --resume continues it, --overwrite starts afresh")
    options.folder.mkdir(parents=True, exist_ok=True)
    return last


def start_run(options: LoopOptions | RunOptions, classes: Sequence[str]) -> None:
    """Saves the options of a run whose inputs have all been found good, and only then removes what `--overwrite` gave up."""
    if options.overwrite:
        for path in (options.folder / "ckpt").glob("*.pth"):
            path.unlink()
    save_options(options, classes)


def run_of(folder: Path, exp: str, data_path: str, val_list: str = "") -> tuple[TrainOptions, tuple[str, ...] | None]:
    """What inference and evaluation take from a run.

    Args:
        folder: the experiment's.
        exp: the recipe asked for; empty takes the run's.
        data_path, val_list: replace the run's where they are not empty.

    Returns:
        The run's options, and its classes; classes are None where the folder holds no run, only weights put there by
        hand: then the options are the recipe's.

    Raises:
        InputError: the run was trained with another recipe than the one asked for.
    """
    run = load_run(folder)
    if run is None:
        values = {**recipe(exp or TrainOptions.exp).train, "name": folder.resolve().name}
        options, classes = make_options(TrainOptions, values), None
    else:
        options, classes = run
        if exp and exp != options.exp:
            raise InputError(f"{folder / OPTIONS_FILE} says --exp {options.exp}, not {exp}")
    changes = {name: value for name, value in (("data_path", data_path), ("val_list", val_list)) if value}
    return dataclasses.replace(options, **changes), classes
