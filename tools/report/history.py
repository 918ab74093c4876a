"""The history of a run: losses, from its log, and scores.

Losses come from the log rather than from TensorBoard's events, which can hide what a run wrote before it was resumed.
"""

import math
import re
from pathlib import Path

from utils.errors import InputError
from utils.experiment.folder import read_scores, scores_file

BEGUN = re.compile(r" on .+ in .+, \d+ classes of ")
RESUMED = re.compile(r" resuming after step \d+ of epoch \d+ ")
STEP = re.compile(r" epoch (\d+) step (\d+)/(\d+) lr \S+ (total \S+(?: \w+ \S+)+) \S+ s/step$")
MOST_POINTS = 240

Curve = list[tuple[float, float]]
"""(epochs trained, loss), ascending."""


def read_losses(path: Path) -> dict[str, Curve]:
    """The losses of the last run in a log, each a mean over the steps since the point before.

    After a kill, some steps are repeated and logged again; the later lines count.

    Args:
        path: log.txt.

    Returns:
        A curve for each loss by name, `total` first; empty if the log is missing or has none.
    """
    if not path.is_file():
        return {}
    rows: list[tuple[float, dict[str, float]]] = []
    afresh = False
    with path.open(encoding="utf-8", errors="replace") as lines:
        for line in map(str.rstrip, lines):
            if BEGUN.search(line):
                afresh = True
            elif RESUMED.search(line):
                afresh = False
            elif row := parse_step(line):
                rows = [] if afresh else rows
                afresh = False
                while rows and rows[-1][0] >= row[0]:
                    rows.pop()
                rows.append(row)
    names = rows[-1][1] if rows else ()
    return {name: thinned([(x, losses[name]) for x, losses in rows if name in losses]) for name in names}


def read_progress(folder: Path) -> dict[int, dict[str, float]]:
    """The scores of `experiment.read_scores`, by epoch in ascending order.

    Raises:
        InputError: the file is damaged.
    """
    scores = read_scores(folder)
    for epoch, entry in scores.items():
        if not re.fullmatch("[0-9]{1,9}", epoch) or not all(0 <= value <= 100 for value in entry.values()):
            raise InputError(f"{scores_file(folder)} is damaged at {epoch!r}: it takes epochs and numbers from 0 to 100")
    return {int(epoch): scores[epoch] for epoch in sorted(scores, key=int)}


def parse_step(line: str) -> tuple[float, dict[str, float]] | None:
    """(epochs trained, losses by name) of a line of `engine.Training.report`; None for other lines."""
    match = STEP.search(line)
    if not match:
        return None
    words = match[4].split()
    try:
        losses = {name: float(value) for name, value in zip(words[::2], words[1::2], strict=True)}
        epochs = int(match[1]) + int(match[2]) / int(match[3])
    except (ValueError, ArithmeticError):
        return None
    return (epochs, losses) if all(map(math.isfinite, losses.values())) else None


def thinned(curve: Curve) -> Curve:
    """At most `MOST_POINTS` points, each a mean of neighbouring ones."""
    size = -(-len(curve) // MOST_POINTS)
    parts = [curve[i : i + size] for i in range(0, len(curve), size)] if curve else []
    return [(part[-1][0], sum(value for _, value in part) / len(part)) for part in parts]
