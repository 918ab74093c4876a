"""The threshold with the best mIoU: written by scoring, read when masks are made."""

import json
from pathlib import Path

from ..errors import InputError
from ..files import whole_file
from ..options.exported import CONFIG_FILE, is_exported, read_config

DEFAULT_BACKGROUND = 0.4
"""The background's score in masks if no best threshold is known."""


def evaluation_file(folder: Path) -> Path:
    """The file of an experiment that holds the best threshold."""
    return folder / "evaluation.json"


def write_best(folder: Path, threshold: float, miou: float, images: str, data: Path, weights: str) -> None:
    """Writes the result of scoring an experiment's CAMs.

    Args:
        folder: the experiment's folder.
        threshold: background score with the best mIoU.
        miou: the best mIoU in percent.
        images: name of the list that was scored.
        data: folder of the data set.
        weights: digest of the network's weights; empty if unknown.

    Raises:
        InputError: the file cannot be written.
    """
    content = {
        "task": "cam",
        "list": images,
        "data": str(data.resolve()),
        "weights": weights,
        "threshold": threshold,
        "miou": miou,
    }
    with whole_file(evaluation_file(folder)) as file:
        file.write((json.dumps(content, indent=1) + "\n").encode())


def read_best(folder: Path, weights: str) -> float:
    """The threshold with the best mIoU.

    Args:
        folder: the experiment's folder.
        weights: digest of the weights of the CAMs to threshold; empty if unknown.

    Raises:
        InputError: there is none, the file is damaged, or the scored CAMs were made with other weights.
    """
    path = evaluation_file(folder)
    try:
        content = json.loads(path.read_text())
        threshold, scored = float(content["threshold"]), str(content["weights"])
    except FileNotFoundError as error:
        raise InputError(
            f"{path} is missing: --threshold best needs evaluation.py --name {folder.name} --task cam first; "
            "or give a number"
        ) from error
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise InputError(f"{path} cannot be read: {error!r}; score the CAMs anew") from error
    if not 0 <= threshold <= 1:
        raise InputError(f"{path} has a threshold of {threshold}; score the CAMs anew")
    if scored and weights and scored != weights:
        raise InputError(f"{path} is of CAMs of other weights, {scored}, not {weights}: score these, or give a number")
    return threshold


def background_of(folder: Path) -> tuple[float, str]:
    """The background's score in the masks of a network, and its source in words.

    Args:
        folder: folder of the experiment, or of an exported network.
    """
    if is_exported(folder) and (exported := read_config(folder).background) is not None:
        return exported, f"that of {folder / CONFIG_FILE}"
    try:
        return read_best(folder, weights=""), f"the best of {evaluation_file(folder)}"
    except InputError:
        return DEFAULT_BACKGROUND, "the default"
