"""Options for the experiment's folder and hardware."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .flags import option

OPTIONS_FILE = "options.json"
"""In an experiment's folder: the options of its run."""
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
