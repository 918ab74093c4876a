"""Folders of an experiment with a file for each image: CAMs, CRF scores made of them, masks made of either.

What a folder was made with is kept beside it (`utils.files.claim`), and handed on to what is made of its files.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..files import claim, claim_file, differing, place, remove_leftovers


def inside_or_path(folder: Path, name: str) -> Path:
    """`folder/name` where that exists or `name` is no folder by itself, else `name`."""
    inside = folder / name
    return inside if inside.is_dir() or not Path(name).is_dir() else Path(name)


def crf_folder(folder: Path, alpha: float) -> Path:
    """Where an experiment keeps the CRF scores of one exponent of the background."""
    return folder / "crf" / f"{alpha:g}"


def crf_folders(folder: Path) -> list[Path]:
    """Those folders of an experiment that are there."""
    return sorted(path for path in (folder / "crf").glob("*") if path.is_dir())


def start_folder(folder: Path, record: Mapping[str, Any], pattern: str, overwrite: bool) -> None:
    """Sees to it that what is written to a folder is never mixed with what was made otherwise.

    Args:
        folder: made where it is missing; what a killed process left half written is removed.
        record: what its files depend on.
        pattern: of its files.
        overwrite: remove what is there.

    Raises:
        InputError: it holds files of another making.
    """
    if overwrite:
        for path in (*folder.glob(pattern), claim_file(folder)):
            path.unlink(missing_ok=True)
    remove_leftovers(folder)
    claim(folder, record, pattern, "--overwrite replaces it; or move it away")


def made_with(folder: Path) -> dict[str, Any]:
    """What a folder was made with; of one from elsewhere, where it is.

    Raises:
        InputError: the file that says so is damaged.
    """
    path = claim_file(folder)
    try:
        record = json.loads(path.read_text())
    except FileNotFoundError:
        return {"files": place(folder, folder.parent)}
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    if not isinstance(record, dict):
        raise InputError(f"{path} cannot be read: it holds a {type(record).__name__}")
    return record


def crf_record(cams: Mapping[str, Any], settings: Mapping[str, float], alpha: float) -> dict[str, Any]:
    """What CRF scores were made with.

    Args:
        cams: what the CAMs were made with.
        settings: of the CRF.
        alpha: exponent of the background.
    """
    return {**cams, **settings, "alpha": alpha}


def threshold_record(cams: Mapping[str, Any], thresholds: Sequence[float]) -> dict[str, Any]:
    """What masks of thresholded CAMs were made with."""
    return {**cams, "thresholds": list(thresholds)}


def score_record(scores: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What masks of CRF scores were made with.

    Args:
        scores: by the name of each folder, what it was made with.

    Raises:
        InputError: they differ in more than the exponent.
    """
    (first, one), *others = scores.items()
    for name, other in others:
        names = [key for key in differing(one, other) if key not in ("alpha", "files")]
        if names:
            raise InputError(f"{first} and {name} were made with different {', '.join(names)}: make one of them anew")
    return {**one, "alpha": sorted((record.get("alpha", name) for name, record in scores.items()), key=str)}


def require_files(folder: Path, ids: Sequence[str]) -> None:
    """Raises InputError where a folder lacks the file of an image."""
    missing = [image_id for image_id in ids if not (folder / f"{image_id}.npy").exists()]
    if missing:
        others = f", and so are {len(missing) - 1} more of {len(ids)}" if len(missing) > 1 else ""
        raise InputError(f"{folder / missing[0]}.npy is missing{others}: infer them first, or name another --val-list")


def unfinished(ids: Sequence[str], target: Path, suffix: str, sources: Sequence[Path]) -> list[str]:
    """Images whose file in `target` is not there, or is older than a file that it is made of."""

    def is_finished(image_id: str) -> bool:
        path = target / f"{image_id}{suffix}"
        if not path.exists():
            return False
        return all((source / f"{image_id}.npy").stat().st_mtime_ns <= path.stat().st_mtime_ns for source in sources)

    return [image_id for image_id in ids if not is_finished(image_id)]
