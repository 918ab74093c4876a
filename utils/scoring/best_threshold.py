"""The threshold with the best mIoU: written by scoring, read when masks are made."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..experiment.exported import CONFIG_FILE, is_exported, read_config
from ..experiment.saved import load_run
from ..files import whole_file
from ..options.inference import USUAL
from ..records import differing, digest_of, shown

DEFAULT_BACKGROUND = 0.4
"""The background's score in masks if no best threshold is known."""
OF_ANY = ("data", "device", "amp")
"""What CAMs that share a threshold may differ in."""


def evaluation_file(folder: Path, cams: str = "dict") -> Path:
    """The file of an experiment that holds the best threshold of the CAMs in a folder of it."""
    return folder / ("evaluation.json" if cams == "dict" else f"evaluation.{cams}.json")


def write_best(cams: Path, threshold: float, miou: float, images: str, data: Path, made_with: Mapping[str, Any]) -> None:
    """Writes the result of scoring an experiment's CAMs.

    Args:
        cams: folder of the CAMs, in the experiment's folder.
        threshold: background score with the best mIoU.
        miou: the best mIoU in percent.
        images: name of the list that was scored.
        data: folder of the data set.
        made_with: the record of the CAMs, see `utils.records.made_with`.

    Raises:
        InputError: the file cannot be written.
    """
    content = {
        "task": "cam",
        "list": images,
        "data": str(data.resolve()),
        "weights": str(made_with.get("weights", "")),
        "made_with": dict(made_with),
        "threshold": threshold,
        "miou": miou,
    }
    with whole_file(evaluation_file(cams.parent, cams.name)) as file:
        file.write((json.dumps(content, indent=1) + "\n").encode())


def read_best(cams: Path, made_with: Mapping[str, Any]) -> float:
    """The threshold with the best mIoU.

    Args:
        cams: folder of the CAMs to threshold, in the experiment's folder.
        made_with: the record of the CAMs, see `utils.records.made_with`.

    Raises:
        InputError: there is none, the file is damaged, or the scored CAMs were made with other settings.
    """
    path = evaluation_file(cams.parent, cams.name)
    try:
        threshold, content = read_evaluation(path)
    except FileNotFoundError as error:
        named = "" if cams.name == "dict" else f" --dict-dir {cams.name}"
        raise InputError(
            f"{path} is missing: --threshold best needs evaluation.py --name {cams.parent.name} --task cam{named} first; "
            "or give a number"
        ) from error
    scored = content.get("made_with") or {"weights": content["weights"]}
    names = [name for name in differing(scored, made_with) if name not in OF_ANY]
    if "made_with" not in content:  # of an earlier version: only the weights are known, or not even these
        names = [name for name in names if name == "weights" and scored[name] and made_with.get(name)]
    if names:
        changed = "; ".join(f"{name} {shown(scored.get(name))}, not {shown(made_with.get(name))}" for name in names)
        raise InputError(f"{path} is of CAMs with {changed}: score these, or give a number")
    return threshold


def background_of(folder: Path, weights: Path) -> tuple[float, str]:
    """The background's score in the masks of a network, and its source in words.

    Args:
        folder: folder of the experiment, or of an exported network.
        weights: file of the network's weights.
    """
    if is_exported(folder) and (exported := read_config(folder).background) is not None:
        return exported, f"that of {folder / CONFIG_FILE}"
    path = evaluation_file(folder)
    try:
        threshold, content = read_evaluation(path)
    except (InputError, FileNotFoundError):
        return DEFAULT_BACKGROUND, "the default"
    if content["weights"] and content["weights"] != digest_of(weights, ""):
        return DEFAULT_BACKGROUND, f"the default; {path} is of other weights"
    if names := unlike_run(folder, content.get("made_with") or {}):
        return DEFAULT_BACKGROUND, f"the default; {path} is of CAMs with another {' and '.join(names)} than the run's"
    return threshold, f"the best of {path}"


def unlike_run(folder: Path, made_with: Mapping[str, Any]) -> list[str]:
    """The settings in a record of CAMs that are not the run's own; none if it is not known what either was made with."""
    run = load_run(folder)
    if run is None or "infer_size" not in made_with:
        return []
    own = {name: getattr(run[0], name) for name in ("infer_size", "infer_cap", "spreads", "cam", "white_level")}
    found, scales = {**USUAL, **made_with}, run[0].infer_scales
    names = [name for name, value in own.items() if found[name] != value]
    return names if found["scales"] in (scales, [*scales]) else [*names, "scales"]


def read_evaluation(path: Path) -> tuple[float, dict[str, Any]]:
    """The best threshold in a file that `write_best` has written, and the file's content.

    Raises:
        FileNotFoundError: there is none.
        InputError: it is damaged.
    """
    try:
        content = json.loads(path.read_text())
        threshold, made_with = float(content["threshold"]), content.get("made_with", {})
        damage = "" if isinstance(content["weights"], str) and isinstance(made_with, dict) else "a wrong type"
    except FileNotFoundError:
        raise
    except (OSError, ValueError, TypeError, AttributeError, KeyError, RecursionError) as error:
        raise InputError(f"{path} cannot be read: {error!r}; score the CAMs anew") from error
    if not 0 <= threshold <= 1:
        damage = f"a threshold of {threshold}"
    if damage:
        raise InputError(f"{path} has {damage}; score the CAMs anew")
    return threshold, content
