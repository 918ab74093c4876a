"""What a run was trained with: its options and classes, as its `options.json` says."""

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from ..errors import InputError
from ..files import whole_file
from ..options.experiment import OPTIONS_FILE
from ..options.flags import OptionsT, make_options
from ..options.recipes import recipe
from ..options.segmentation import MaskOptions, SegOptions
from ..options.training import TrainOptions
from .exported import exported_run, is_exported, read_config

MaskT = TypeVar("MaskT", bound=MaskOptions)

TRM, SEG, AFF = "net_trm.pth", "net_seg.pth", "net_aff.pth"
"""Endings of the names of inference weights: of DiG, of a segmentation network, of an affinity network."""


def save_options(options: Any, classes: Sequence[str], job: str = "", white: float = 0.0) -> None:
    """Writes `options.json`: options, classes, torchrun's job, white level, and where relative paths start from."""
    home = os.path.relpath(Path.cwd(), options.folder.resolve())
    content: dict[str, Any] = {"options": dataclasses.asdict(options), "classes": list(classes), "job": job, "home": home}
    content |= {"white_level": white} if white else {}
    with whole_file(options.folder / OPTIONS_FILE, durable=True) as file:
        file.write((json.dumps(content, indent=2) + "\n").encode())


def content_of(folder: Path) -> dict[str, Any]:
    """The content of a run's `options.json`.

    Raises:
        InputError: the file is missing or damaged, or holds no options.
    """
    path = folder / OPTIONS_FILE
    try:
        content = json.loads(path.read_text())
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not the options of a run: {error}") from error
    if not isinstance(content, dict) or not isinstance(content.get("options"), dict):
        raise InputError(f"{path} is not the options of a run: it holds no options")
    return content


def saved_white(folder: Path) -> float:
    """The white level of a run's training images; 0 if it is unknown, or there is no run.

    Raises:
        InputError: the options are damaged.
    """
    return white_of(content_of(folder)) if (folder / OPTIONS_FILE).exists() else 0.0


def white_of(content: Mapping[str, Any]) -> float:
    """The white level in the content of a run's `options.json`; 0 if there is none."""
    white = content.get("white_level")
    return white if isinstance(white, float) and white > 0 else 0.0


def load_options(cls: type[OptionsT], folder: Path) -> OptionsT:
    """The options that a run saved.

    Raises:
        InputError: they are damaged, of another kind of run, or were written by another version.
    """
    return options_of(cls, content_of(folder), folder)


def options_of(cls: type[OptionsT], content: Mapping[str, Any], folder: Path) -> OptionsT:
    """The options in the content of a folder's `options.json`; see `load_options`."""
    try:
        return from_home(make_options(cls, content["options"]), folder / str(content.get("home", ".")))
    except (ValueError, TypeError, KeyError, InputError) as error:
        raise InputError(f"{folder / OPTIONS_FILE} is not the options of a run: {error}") from error


def from_home(options: OptionsT, home: Path) -> OptionsT:
    """Options whose relative paths, if they do not exist in the current folder, are taken relative to `home`."""
    there = {}
    for f in dataclasses.fields(options):
        value = getattr(options, f.name)
        if f.metadata["path"] and value and not Path(value).exists() and (home / value).exists():
            there[f.name] = os.path.relpath(home / value)
    return dataclasses.replace(options, **there)


def kind_of(folder: Path) -> str:
    """The kind of a run: of train_trm.py (TRM), train_seg.py (SEG) or train_affinity.py (AFF); TRM if there is no run."""
    if is_exported(folder):
        return SEG if read_config(folder).kind == "seg" else TRM
    try:
        options = content_of(folder)["options"]
    except InputError:
        return TRM
    return AFF if "radius" in options else SEG if "encoder" in options else TRM


def job_of(folder: Path) -> str:
    """The name of the torchrun job that started the run in a folder; empty without torchrun."""
    try:
        return str(content_of(folder).get("job", ""))
    except InputError:
        return ""


def load_run(folder: Path) -> tuple[TrainOptions, tuple[str, ...]] | None:
    """What a run of train_trm.py was trained with; see `load_run_of`."""
    return load_run_of(folder, TrainOptions)


def load_run_of(folder: Path, cls: type[OptionsT]) -> tuple[OptionsT, tuple[str, ...]] | None:
    """The options that an experiment was trained with and its class names; None where it holds none.

    Args:
        folder: the experiment's, or that of an exported network.
        cls: the options of the script that trained it.

    Raises:
        InputError: the file is damaged, of another script, or was written by another version.
    """
    path = folder / OPTIONS_FILE
    if is_exported(folder):
        return exported_run(folder, cls)
    if not path.exists():
        return None
    content = content_of(folder)
    options, classes = options_of(cls, content, folder), content.get("classes")
    if not isinstance(classes, list) or not classes or not all(isinstance(name, str) for name in classes):
        raise InputError(f"{path} is not the options of a run: it names no classes")
    if hasattr(options, "white_level"):
        options = dataclasses.replace(options, white_level=options.white_level or white_of(content))
    return options, tuple(classes)


def run_of(folder: Path, exp: str, data_path: str, val_list: str = "") -> tuple[TrainOptions, tuple[str, ...] | None]:
    """Options and classes of a run, for inference and evaluation.

    Args:
        folder: the experiment's folder.
        exp: the requested recipe; empty: the run's.
        data_path, val_list: replace the run's if not empty.

    Returns:
        The run's options and classes. If the folder holds no run, only weights copied there: the recipe's options and None.

    Raises:
        InputError: the run has no CAMs, or was trained with another recipe than `exp`.
    """
    if kind_of(folder) == SEG:
        raise InputError(f"{folder} is a run of train_seg.py, a segmentation network, which has no CAMs: see infer_seg.py")
    if kind_of(folder) == AFF:
        raise InputError(f"{folder} is a run of train_affinity.py, which has no CAMs: see python -m tools.refine")
    run = load_run(folder)
    if run is None:
        values = {**recipe(exp or TrainOptions.exp).train, "name": folder.resolve().name}
        options, classes = make_options(TrainOptions, values), None
    else:
        options, classes = run
        if exp and exp != options.exp:
            raise InputError(f"{folder / OPTIONS_FILE} says --exp {options.exp}, not {exp}")
    return dataclasses.replace(
        options, data_path=data_path or options.data_path, val_list=val_list or options.val_list
    ), classes


def seg_run_of(folder: Path, data_path: str = "", val_list: str = "") -> tuple[SegOptions, tuple[str, ...]]:
    """Options and classes of a run of train_seg.py, for inference and evaluation.

    Args:
        folder: the experiment's folder.
        data_path, val_list: replace the run's if not empty.

    Returns:
        The run's options, and its classes.

    Raises:
        InputError: there is no such run.
    """
    options, classes = mask_run_of(folder, SegOptions, SEG, "train_seg.py")
    return dataclasses.replace(
        options, data_path=data_path or options.data_path, val_list=val_list or options.val_list
    ), classes


def mask_run_of(folder: Path, cls: type[MaskT], kind: str, script: str) -> tuple[MaskT, tuple[str, ...]]:
    """The options and classes of a run of a script that trains on masks.

    Raises:
        InputError: there is no such run.
    """
    run = load_run_of(folder, cls) if kind_of(folder) == kind else None
    if run is None:
        raise InputError(f"{folder} holds no run of {script}: its {OPTIONS_FILE} is missing or of another script")
    return run


def scored_run_of(folder: Path, exp: str, data_path: str) -> tuple[TrainOptions | SegOptions, tuple[str, ...] | None]:
    """Options and classes of a run of train_trm.py or train_seg.py, for scoring; see `run_of` and `seg_run_of`."""
    return seg_run_of(folder, data_path) if kind_of(folder) == SEG else run_of(folder, exp, data_path)
