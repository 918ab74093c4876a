"""Records of what a folder's files were made with, so that it never holds files of different settings."""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from .errors import InputError
from .files import whole_file


def claim(folder: Path, record: Mapping, pattern: str, way_out: str) -> None:
    """Records the settings that a folder's files are made with, and refuses files made with others.

    Args:
        folder: the folder; it need not exist.
        record: the settings, as plain values; written to `claim_file(folder)`.
        pattern: glob pattern of the files concerned.
        way_out: end of the error message: what the user can do.

    Raises:
        InputError: the folder holds files that were made with other settings.
    """
    path = claim_file(folder)
    try:
        before = json.loads(path.read_text())
    except FileNotFoundError:
        before = None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} cannot be read: {error}. {way_out}") from error
    if before is None:
        if next(folder.glob(pattern), None):
            raise InputError(f"{folder} holds files from elsewhere, and nothing is added to them. {way_out}")
        with whole_file(path) as file:
            file.write(json.dumps(record, indent=1).encode())
    elif not isinstance(before, dict):
        raise InputError(f"{folder} was made with something else. {way_out}")
    elif names := differing(before, record):
        changed = [f"{name} {shown(before.get(name))}, not {shown(record.get(name))}" for name in names]
        raise InputError(f"{folder} was made with {'; '.join(changed)}. {way_out}")


def made_with(folder: Path, experiment: Path) -> dict[str, Any]:
    """The record of a folder; for a folder without one, from another tool, a record of its path.

    Args:
        folder: the folder.
        experiment: folder of the experiment that uses it, where its relative path starts.

    Raises:
        InputError: the record is damaged.
    """
    path = claim_file(folder)
    try:
        record = json.loads(path.read_text())
    except FileNotFoundError:
        return {"files": place(folder, experiment)}
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    if not isinstance(record, dict):
        raise InputError(f"{path} cannot be read: it holds a {type(record).__name__}")
    return record


def place(path: Path, folder: Path) -> dict[str, str]:
    """A path as a record keeps it: absolute and relative, so that it still matches after a project, or only the folder, was
    moved (`differing`).

    Args:
        path: the path.
        folder: start of the relative path.
    """
    return {"path": str(path.resolve()), "relative": os.path.relpath(path.resolve(), folder.resolve())}


def differing(one: Mapping, other: Mapping) -> list[str]:
    """Names of the entries in which two records differ, sorted; paths are equal if either form (`place`) is."""

    def same(a: Any, b: Any) -> bool:
        if isinstance(a, dict) or isinstance(b, dict):  # records of earlier versions have one path
            a, b = (value if isinstance(value, dict) else {"path": value} for value in (a, b))
            return any(a[name] == b.get(name) for name in a)
        return a == b

    return sorted(name for name in {*one, *other} if not same(one.get(name), other.get(name)))


def shown(value: Any) -> str:
    """A value of a record in a message."""
    return repr(value["path"] if isinstance(value, dict) and "path" in value else value)


def claim_file(folder: Path) -> Path:
    """`dict` -> `dict.made_with.json`: beside the folder, because other tools read every file inside."""
    named = folder if folder.name not in ("", "..") else folder.resolve()  # "." has no name
    return named.with_name(f"{named.name}.made_with.json")


def digest_of(path: Path, hint: str) -> str:
    """The start of a weights file's SHA-256, 16 hexadecimal digits, which records keep to identify it.

    Args:
        path: the file.
        hint: end of the message for a missing file.

    Raises:
        InputError: it is missing.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:16]
    except FileNotFoundError as error:
        raise InputError(f"{path} is missing. {hint}") from error


def digest_of_all(paths: Iterable[Path]) -> str:
    """A digest of the contents of files, in order; a missing file counts as an empty one."""
    found = hashlib.sha256()
    for path in paths:
        content = path.read_bytes() if path.is_file() else b""
        found.update(len(content).to_bytes(8, "big") + content)
    return found.hexdigest()[:16]
