"""Where an experiment's weights and scores are."""

import json
from collections.abc import Mapping
from pathlib import Path

from ..errors import InputError, did_you_mean
from ..files import whole_file
from .exported import WEIGHTS_FILE, is_exported
from .saved import TRM, kind_of

SCORES = ("miou", "threshold", "map", "f1")
"""Validation scores of an epoch, in percent except the threshold; a segmentation network has only `miou`."""
NEEDED_SCORES = ("miou", "threshold")
"""Scores of an epoch of DiG that files of all versions hold."""


def epoch_file(folder: Path, epoch: int, kind: str = TRM) -> Path:
    """The inference weights of an epoch: `<folder>/ckpt/019net_trm.pth`."""
    return folder / "ckpt" / f"{epoch:03d}{kind}"


def last_file(folder: Path) -> Path:
    """The checkpoint that a run is resumed from."""
    return folder / "ckpt" / "last.pth"


def scores_file(folder: Path) -> Path:
    """The file of validation scores by epoch."""
    return folder / "scores.json"


def read_scores(folder: Path) -> dict[str, dict[str, float]]:
    """Validation scores by epoch, as `add_score` wrote them; empty if there are none yet.

    Raises:
        InputError: the file is damaged.
    """
    try:
        content = json.loads(scores_file(folder).read_text())
        needed = NEEDED_SCORES if kind_of(folder) == TRM else NEEDED_SCORES[:1]
        return {
            str(epoch): {name: float(scores[name]) for name in SCORES if name in scores or name in needed}
            for epoch, scores in content.items()
        }
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, AttributeError, KeyError, RecursionError) as error:
        raise InputError(f"{scores_file(folder)} cannot be read: {error}; remove it to score anew") from error


def add_score(folder: Path, epoch: int, scores: Mapping[str, float]) -> None:
    """Adds an epoch's `SCORES` to scores.json; other values are left out."""
    content = read_scores(folder) | {str(epoch): {name: float(scores[name]) for name in SCORES if name in scores}}
    with whole_file(scores_file(folder), durable=True) as file:
        file.write((json.dumps(content, indent=1) + "\n").encode())


def latest_epoch(folder: Path, kind: str = TRM) -> int:
    """The last epoch that left inference weights.

    Raises:
        InputError: there is none.
    """
    epochs = epochs_there(folder, kind)
    if not epochs:
        raise InputError(f"{folder / 'ckpt'} holds no <epoch>{kind}; train first or give --weights FILE")
    return epochs[-1]


def require_epoch(folder: Path, epoch: int, kind: str = TRM) -> Path:
    """The inference weights of an epoch.

    Raises:
        InputError: the experiment has other epochs.
    """
    path, epochs = epoch_file(folder, epoch, kind), epochs_there(folder, kind)
    if epochs and epoch not in epochs:
        near = min(epochs, key=lambda other: abs(other - epoch))
        published = "or copy the published 69.3_pascal.pth there, " if kind == TRM else ""
        raise InputError(
            f"{path} is missing. Train first, or take one of {len(epochs)} epochs there, {near} is nearest; {published}"
            "or name a file with --weights"
        )
    return path


def weights_of(folder: Path, epoch: int | None = None, kind: str = TRM) -> Path:
    """The inference weights of an experiment's epoch, or of an exported network.

    Args:
        folder: folder of the experiment, or of an exported network.
        epoch: counted from 0; None: the last one there.
        kind: TRM, SEG or AFF.

    Raises:
        InputError: there are none.
    """
    if is_exported(folder):
        if epoch is not None:
            raise InputError(f"{folder} is an exported network, which has one set of weights and no epoch {epoch}")
        return folder / WEIGHTS_FILE
    return require_epoch(folder, latest_epoch(folder, kind) if epoch is None else epoch, kind)


def require_experiment(folder: Path) -> None:
    """Raises InputError if there is no such experiment; the message suggests a similar name."""
    if not folder.is_dir():
        beside = [path.name for path in folder.parent.iterdir() if path.is_dir()] if folder.parent.is_dir() else []
        others = did_you_mean(folder.name, beside) or ": train one, or name another with --name and --experiments"
        raise InputError(f"there is no experiment {folder}{others}")


def epochs_there(folder: Path, kind: str = TRM) -> list[int]:
    """Epochs that left inference weights, ascending."""
    names = [path.name.removesuffix(kind) for path in (folder / "ckpt").glob(f"*{kind}")]
    return sorted(int(name) for name in names if name.isdigit())


def remove_old_epochs(folder: Path, keep: int, kind: str = TRM) -> None:
    """Removes inference weights of all but the last epochs and the one with the best mIoU, the first of equals."""
    scores = read_scores(folder)
    best = max(scores, key=lambda epoch: (scores[epoch]["miou"], -int(epoch)), default=None)
    for epoch in epochs_there(folder, kind)[:-keep]:
        if str(epoch) != best:
            epoch_file(folder, epoch, kind).unlink(missing_ok=True)
