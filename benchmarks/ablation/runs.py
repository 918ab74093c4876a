"""The runs of the ablation: a start for each seed, and a branch of it for each row."""

import os
import subprocess
import sys
import threading
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import torch

import train_trm
from models import LFCA_PREFIXES
from utils.errors import InputError
from utils.experiment.folder import last_file
from utils.experiment.saved import load_run
from utils.experiment.start import start_run
from utils.files import previous_file
from utils.log import RunLog
from utils.options.training import TrainOptions
from utils.training.checkpoint import load_file, save_file

from .results import add_result, commit
from .rows import Row
from .scoring import score

DRAWING = threading.Lock()
"""Held while weights are drawn, because all threads share one random generator."""
ONE_AT_A_TIME: dict[int, threading.Lock] = defaultdict(threading.Lock)
"""A lock for the start of each seed, which rows in several threads may need at the same time."""


@dataclass(frozen=True)
class Plan:
    """What all runs have in common.

    Args:
        experiments: folder of the runs.
        flags: of train_trm.py, of all rows.
        start_epochs: epochs that a seed's rows share.
        score_list: list of the images whose CAMs are scored.
        threads: of each process.
        keep_checkpoints: leave the last checkpoint of each run.
    """

    experiments: Path
    flags: tuple[str, ...]
    start_epochs: int
    score_list: str
    threads: int
    keep_checkpoints: bool = False

    def command_line(self, name: str, seed: int, row_flags: Sequence[str] = ()) -> list[str]:
        """Flags of train_trm.py for one run."""
        place = ["--name", name, "--experiments", str(self.experiments), "--seed", str(seed), "--nproc", "1"]
        return [*place, "--guided-from", str(self.start_epochs), *self.flags, *row_flags]


def train_start(plan: Plan, seed: int) -> Path:
    """Trains the epochs that all rows of a seed share, unless it is done. Returns the run's folder."""
    flags = plan.command_line(f"start-{seed}", seed)
    with ONE_AT_A_TIME[seed]:
        folder = train_trm.parse(flags).folder
        if not (folder / "done").exists():
            train([*flags, "--until", str(plan.start_epochs)], folder, plan.threads)
            (folder / "done").touch()
    return folder


def run_row(plan: Plan, row: Row, seed: int, out: Path) -> None:
    """Trains a row from its seed's start on, scores its CAMs, and adds the result to a file."""
    made_by = commit()
    flags = plan.command_line(f"{row.name}-{seed}", seed, row.flags)
    options = train_trm.parse(flags)
    if not row.whole and not options.resume:
        branch(train_start(plan, seed), options)
    train(flags, options.folder, plan.threads)
    result = score(options.folder, plan.score_list, plan.threads)
    run_flags = " ".join((*plan.flags, *row.flags))
    result = replace(result, row=row.name, seed=seed, flags=run_flags, commit=made_by)
    add_result(out, replace(result, start_epochs=plan.start_epochs, score_list=plan.score_list))
    last = last_file(options.folder)
    for path in (previous_file(last),) if plan.keep_checkpoints else (last, previous_file(last)):
        path.unlink(missing_ok=True)


def train(flags: Sequence[str], folder: Path, threads: int) -> None:
    """Runs train_trm.py, or continues it, with its output in the run's folder.

    Raises:
        InputError: it failed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "train_trm.py", *flags]
    with (folder / "output.txt").open("ab") as output:
        environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
        status = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, env=environment).returncode
    if status:
        raise InputError(f"{' '.join(command)} failed: see {folder / 'output.txt'}")


def branch(start: Path, options: TrainOptions) -> None:
    """Creates a run that goes on from the last checkpoint of another one, in which losses of the denoiser have not begun.

    Parameters of LFCA have not learnt yet. If a row's have other shapes, or it has none, they are those that its seed draws.
    The denoiser may be another one.
    """
    run = load_run(start)
    if run is None:
        raise InputError(f"{start} holds no run to start from")
    started, classes = run
    content = load_file(last_file(start))
    content.pop("denoiser", None)  # it has guided nothing yet, so a row may have another one
    old_names, _ = parameter_names(started, len(classes))
    names, fresh = parameter_names(options, len(classes))
    shapes = {name: value.shape for name, value in fresh.items()}
    for key in ("model", "ema"):
        if key in content:
            own = {name: value for name, value in content[key].items() if shapes.get(name) == value.shape}
            content[key] = {name: own.get(name, value) for name, value in fresh.items()}
    content["optimizer"] = renumbered(content["optimizer"], old_names, names)
    last_file(options.folder).parent.mkdir(parents=True, exist_ok=True)
    save_file(content, last_file(options.folder))
    start_run(options, classes)


def parameter_names(options: TrainOptions, num_classes: int) -> tuple[list[list[str]], dict[str, torch.Tensor]]:
    """Names of the parameters in each group of a run's optimiser, and the network's state before training."""
    log = RunLog(options.folder, silent=True)
    with DRAWING:
        torch.manual_seed(options.seed_of("weights"))
        _, _, net = train_trm.build_networks(num_classes, replace(options, resume=True), log)
    optimizer = train_trm.build_optimizer(net, options)
    name_of = {id(parameter): name for name, parameter in net.named_parameters()}
    groups = [[name_of[id(parameter)] for parameter in group["params"]] for group in optimizer.param_groups]
    return groups, net.state_dict()


def renumbered(optimizer: dict[str, Any], old: list[list[str]], new: list[list[str]]) -> dict[str, Any]:
    """An optimiser's state for a network with other parameters of LFCA, which have no state yet.

    Args:
        optimizer: the state of the optimiser, by number of parameters.
        old, new: names of the parameters of each group, whose order gives their numbers.
    """
    old_names, new_names = list(chain.from_iterable(old)), list(chain.from_iterable(new))
    state = {old_names[number]: value for number, value in optimizer["state"].items()}
    if any(name.startswith(LFCA_PREFIXES) for name in state):
        raise InputError("LFCA has learnt already: the start is too long")
    moved = {number: state[name] for number, name in enumerate(new_names) if name in state}
    numbers = iter(range(len(new_names)))
    groups = [
        group | {"params": [next(numbers) for _ in names]}
        for group, names in zip(optimizer["param_groups"], new, strict=True)
    ]
    return {"state": moved, "param_groups": groups}
