"""Options for the experiment's folder and hardware, and the file with a run's options."""

import dataclasses
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..files import whole_file
from .flags import OptionsT, make_options, option

OPTIONS_FILE = "options.json"


DEVICES = (r"auto|cuda(:\d+)?|mps|cpu", "one of auto, cuda, cuda:N, mps and cpu")


def device_option(resumable: bool = False) -> Any:
    """The field of `--device`."""
    return option(
        "auto",
        "auto takes CUDA, then MPS, then the CPU; cuda:1 is the second GPU alone; or cuda, mps, cpu",
        pattern=DEVICES,
        resumable=resumable,
    )


@dataclass(frozen=True, kw_only=True)
class ExperimentOptions:
    """The place of an experiment."""

    name: str = option(..., "name of the experiment: its files are in EXPERIMENTS/NAME", resumable=True)
    experiments: str = option("./experiment", "folder of all experiments", resumable=True)

    @property
    def folder(self) -> Path:
        """The experiment's folder; without a name the folder of all experiments, which holds no run."""
        return Path(self.experiments) / self.name


@dataclass(frozen=True, kw_only=True)
class EpochOptions:
    """Which epoch of an experiment is used."""

    load_epo: int = option(-1, "epoch whose weights in ckpt/ are used; -1: the last one there", low=-1)

    @property
    def epoch(self) -> int | None:
        """The epoch; None: the last one there."""
        return self.load_epo if self.load_epo >= 0 else None


@dataclass(frozen=True, kw_only=True)
class WeightsOptions(EpochOptions):
    """Which weights are used."""

    weights: str = option("", "weights file, instead of an epoch of the experiment")


@dataclass(frozen=True, kw_only=True)
class MachineOptions:
    """What a command runs on."""

    device: str = device_option(resumable=True)
    nproc: int = option(
        0, "processes of this machine that share the work; 0: one per GPU, one on a CPU", low=0, high=256, resumable=True
    )
    num_workers: int = option(
        -1,
        "workers of each process that load images, -1: one per core, 8 at most; results are the same",
        low=-1,
        high=256,
        resumable=True,
    )


@dataclass(frozen=True, kw_only=True)
class RunOptions(MachineOptions, ExperimentOptions):
    """Where a run's results are and what it runs on."""

    exp: str = option("dig_eccv24", "recipe that sets the defaults of the other flags")


def amp_option(help: str) -> Any:
    """The field of `--amp`."""
    return option("off", help, choices=("off", "bf16", "fp16"))


def compile_option() -> Any:
    """The field of `--compile`."""
    return option(False, "compile the networks with torch.compile: minutes at the start (on CPUs it needs a C++ compiler)")


def save_options(options: Any, classes: Sequence[str], job: str = "", white: float = 0.0) -> None:
    """Writes `options.json`: options, classes, torchrun's job, white level, and where relative paths start from."""
    home = os.path.relpath(Path.cwd(), options.folder.resolve())
    content: dict[str, Any] = {"options": dataclasses.asdict(options), "classes": list(classes), "job": job, "home": home}
    content |= {"white_level": white} if white else {}
    with whole_file(options.folder / OPTIONS_FILE, durable=True) as file:
        file.write((json.dumps(content, indent=2) + "\n").encode())


def saved_white(folder: Path) -> float:
    """The white level that a run's `options.json` holds; 0 if it holds none."""
    path = folder / OPTIONS_FILE
    try:
        white = json.loads(path.read_text()).get("white_level", 0) if path.exists() else 0
    except (ValueError, AttributeError) as error:
        raise InputError(f"{path} is not the options of a run: {error}") from error
    return white if isinstance(white, float) and white > 0 else 0.0


def load_options(cls: type[OptionsT], path: Path) -> OptionsT:
    """The options that a run saved.

    Raises:
        InputError: the file is damaged, of another kind of run, or was written by another version.
    """
    try:
        content = json.loads(path.read_text())
        options = make_options(cls, content["options"])
        return from_home(options, path.parent / str(content.get("home", ".")))
    except (ValueError, TypeError, KeyError, RecursionError, InputError) as error:
        raise InputError(f"{path} is not the options of a run: {error}") from error


def from_home(options: OptionsT, home: Path) -> OptionsT:
    """Options whose relative paths, if they do not exist in the current folder, are taken relative to `home`."""
    there = {}
    for f in dataclasses.fields(options):
        value = getattr(options, f.name)
        if f.metadata["path"] and value and not Path(value).exists() and (home / value).exists():
            there[f.name] = os.path.relpath(home / value)
    return dataclasses.replace(options, **there)
