"""Folders of an experiment with one file per image: CAMs, CRF scores made from CAMs, masks made from either.

Beside each folder is a record of what its files were made with (`utils.records`). The records of CRF scores and masks
include those of their CAMs.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..files import remove_leftovers, whole_file
from ..records import claim, claim_file, differing, made_with


def inside_or_path(folder: Path, name: str) -> Path:
    """`folder/name`; but `name` itself if that is a folder and `folder/name` is not."""
    inside = folder / name
    return inside if inside.is_dir() or not Path(name).is_dir() else Path(name)


def crf_folder(folder: Path, alpha: float) -> Path:
    """The folder of an experiment's CRF scores with one exponent of the background."""
    return folder / "crf" / f"{alpha:g}"


def crf_folders(folder: Path) -> list[Path]:
    """The existing folders of an experiment's CRF scores, sorted."""
    return sorted(path for path in (folder / "crf").glob("*") if path.is_dir())


def start_folder(folder: Path, record: Mapping[str, Any], pattern: str, overwrite: bool) -> None:
    """Prepares a folder for writing, so that it never holds files made with different settings.

    Args:
        folder: the folder; it need not exist. Incomplete files of killed processes are removed.
        record: what its files depend on.
        pattern: glob pattern of its files.
        overwrite: remove the existing files.

    Raises:
        InputError: it holds files that were made with other settings.
    """
    if overwrite:
        for path in (*folder.glob(pattern), claim_file(folder), labels_file(folder)):
            path.unlink(missing_ok=True)
    remove_leftovers(folder)
    claim(folder, record, pattern, "--overwrite replaces it; or move it away")


def note_of_other_weights(scores: Path, experiment: Path) -> str:
    """A line for the user if CRF scores are of other weights than the experiment's CAMs in dict/; empty if not."""
    cams = experiment / "dict"
    before, now = (str(made_with(path, experiment).get("weights", "")).split("+")[0] for path in (scores, cams))
    if not before or not now or before == now:
        return ""
    return f"{scores} is of CAMs of other weights than {cams}: if {cams} is newer, make {scores} again with --overwrite"


def crf_record(cams: Mapping[str, Any], settings: Mapping[str, float], alpha: float) -> dict[str, Any]:
    """The record of CRF scores.

    Args:
        cams: the record of the CAMs.
        settings: of the CRF.
        alpha: exponent of the background.
    """
    return {**cams, **settings, "alpha": alpha}


def threshold_record(cams: Mapping[str, Any], thresholds: Sequence[float]) -> dict[str, Any]:
    """The record of masks of thresholded CAMs."""
    return {**cams, "thresholds": list(thresholds)}


def score_record(scores: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The record of masks of CRF scores.

    Args:
        scores: records of the scores, by the name of their folder.

    Raises:
        InputError: they differ in more than the exponent.
    """
    (first, one), *others = scores.items()
    for name, other in others:
        names = [key for key in differing(one, other) if key not in ("alpha", "files")]
        if names:
            raise InputError(f"{first} and {name} were made with different {', '.join(names)}: make one of them anew")
    return {**one, "alpha": sorted((record.get("alpha", name) for name, record in scores.items()), key=str)}


def remove_of_other_labels(
    folder: Path, ids: Sequence[str], labels: np.ndarray, names: Callable[[str, list[int]], Iterable[str]]
) -> None:
    """Removes the files of images whose labels have changed since, and records the labels beside the folder.

    Args:
        folder: a folder whose files depend on labels, after `start_folder`.
        ids: n images, in addition to those recorded before.
        labels: (n, C) bool.
        names: names of an image's files in the folder, given the indices of its classes.

    Raises:
        InputError: the record of the labels is damaged.
    """
    path = labels_file(folder)
    now = {i: row.tobytes().hex() for i, row in zip(ids, np.packbits(labels, axis=1), strict=True)}
    try:
        before = json.loads(path.read_text())
        changed = {i: bytes.fromhex(before[i]) for i in now if before.get(i, now[i]) != now[i]}
    except FileNotFoundError:
        before, changed = {}, {}
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{path} cannot be read: {error}; --overwrite makes its files anew") from error
    for image_id, bits in changed.items():
        row = np.unpackbits(np.frombuffer(bits, np.uint8), count=labels.shape[1])
        for name in names(image_id, row.nonzero()[0].tolist()):
            (folder / name).unlink(missing_ok=True)
    if changed:
        print(f"{folder}: {len(changed)} images have other labels now, and their files are made anew")
    if changed or not before.keys() >= now.keys():
        with whole_file(path) as file:
            file.write(json.dumps(before | now).encode())


def labels_file(folder: Path) -> Path:
    """`dict` -> `dict.labels.json`, beside the folder."""
    return claim_file(folder).with_name(f"{folder.name}.labels.json")


def require_files(folder: Path, ids: Sequence[str]) -> None:
    """Raises InputError if a folder has no file for one of the images."""
    missing = [image_id for image_id in ids if not (folder / f"{image_id}.npy").exists()]
    if missing:
        others = f", and so are {len(missing) - 1} more of {len(ids)}" if len(missing) > 1 else ""
        raise InputError(f"{folder / missing[0]}.npy is missing{others}: infer them first, or name another --val-list")


def unfinished(ids: Sequence[str], target: Path, suffix: str, sources: Sequence[Path]) -> list[str]:
    """Images whose file in `target` is missing, or older than a file that it is made from."""

    def is_finished(image_id: str) -> bool:
        path = target / f"{image_id}{suffix}"
        if not path.exists():
            return False
        return all((source / f"{image_id}.npy").stat().st_mtime_ns <= path.stat().st_mtime_ns for source in sources)

    return [image_id for image_id in ids if not is_finished(image_id)]
