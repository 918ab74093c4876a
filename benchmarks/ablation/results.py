"""Results of the ablation as data: a line of JSON for each run."""

import dataclasses
import json
import subprocess
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from utils.errors import InputError
from utils.files import whole_file

from .rows import ROWS

ADDING = threading.Lock()
RECENT = 3
"""Epochs whose scores are averaged."""


@dataclass(frozen=True)
class Result:
    """A run and its scores.

    Args:
        row: name of the row.
        seed: of the run.
        flags: of train_trm.py, beside those that name the run and its seed.
        commit: of the code.
        miou: of CAMs in percent, at the best threshold.
        classes: number of classes without background, C.
        threshold: the best threshold; None if it was not kept.
        recent: mean mIoU of the last `RECENT` validations in training, on its list; None if there were fewer.
        map: mean average precision of the labels in percent; None if it was not kept.
        areas: for each image, {class, 0 for background: pixels rightly predicted, predicted, true} at the best threshold;
            empty if they were not kept.
        start_epochs: epochs that its seed's rows share; None if it was not kept.
        score_list: list of the images that were scored; None if it was not kept.
    """

    row: str
    seed: int
    flags: str
    commit: str
    miou: float
    classes: int
    threshold: float | None = None
    recent: float | None = None
    map: float | None = None
    areas: dict[str, dict[str, list[int]]] = field(default_factory=dict, repr=False)
    start_epochs: int | None = None
    score_list: str | None = None

    def table(self, images: Iterable[str]) -> np.ndarray:
        """The areas of images: (n, C + 1, 3)."""
        images = list(images)
        table = np.zeros((len(images), self.classes + 1, 3), np.int64)
        for i, image in enumerate(images):
            for label, areas in self.areas[image].items():
                table[i, int(label)] = areas
        return table


def read_results(path: Path) -> list[Result]:
    """The results in a file; none if there is no such file.

    Raises:
        InputError: it is damaged.
    """
    if not path.exists():
        return []
    try:
        return [Result(**json.loads(line)) for line in path.read_text().splitlines()]
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error


def add_result(path: Path, result: Result) -> None:
    """Adds a result to a file; may be called from several threads."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with ADDING:
        lines = path.read_text() if path.exists() else ""
        with whole_file(path) as file:
            file.write((lines + json.dumps(dataclasses.asdict(result), separators=(",", ":")) + "\n").encode())


def require_same_plan(results: Iterable[Result], flags: Sequence[str], start_epochs: int, score_list: str) -> None:
    """Checks that results of another plan are not continued; what a result does not say is taken to agree.

    Args:
        results: those that are there.
        flags: of train_trm.py, of all rows.
        start_epochs: epochs that a seed's rows share.
        score_list: list of the images that are scored.

    Raises:
        InputError: a result is of another plan.
    """
    for result in results:
        run, own = f"{result.row} with seed {result.seed}", flags_of_all(result)
        if own != [*flags]:
            raise InputError(f"the results hold {run} of --flags {' '.join(own)!r}: name another file with --results")
        if (result.start_epochs or start_epochs, result.score_list or score_list) != (start_epochs, score_list):
            settings = f"--start-epochs {result.start_epochs} --score-list {result.score_list}"
            raise InputError(f"the results hold {run} of {settings}: name another file with --results")


def flags_of_all(result: Result) -> list[str]:
    """The flags of a result that all rows of its plan have: without those of its row, which are the last."""
    flags, row_flags = result.flags.split(), [*ROWS[result.row].flags]
    return flags[: len(flags) - len(row_flags)] if row_flags and flags[-len(row_flags) :] == row_flags else flags


def commit() -> str:
    """The commit of the code, and whether it was changed since; "unknown" where git cannot tell."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=10"]
    try:
        found = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return found.stdout.strip()
