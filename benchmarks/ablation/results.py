"""Results of the ablation as data: a line of JSON for each run."""

import dataclasses
import json
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from utils.errors import InputError
from utils.files import whole_file

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
    """Adds a result to a file."""
    lines = path.read_text() if path.exists() else ""
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as file:
        file.write((lines + json.dumps(dataclasses.asdict(result), separators=(",", ":")) + "\n").encode())


def commit() -> str:
    """The commit of the code, and whether it was changed since."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=10"]
    return subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True).stdout.strip()
