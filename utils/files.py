"""Files that appear whole or not at all, and folders whose files were all made in one way."""

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from .errors import InputError


@contextlib.contextmanager
def whole_file(path: Path, durable: bool = False, previous: Path | None = None) -> Iterator[BinaryIO]:
    """Opens a temporary file for writing that takes the name `path` only when the block has ended well.

    Args:
        path: its folder is made where it is missing.
        durable: wait until the bytes are on the disk, so that not even a power cut leaves half a file.
        previous: where the file that has the name now goes; None replaces it.

    Raises:
        InputError: the file cannot be written; what was there is still there.
    """
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if durable:
            remove_leftovers(path.parent, f"{path.name}.*.tmp")
        with temporary.open("wb") as file:
            yield file
            if durable:
                file.flush()
                os.fsync(file.fileno())
        if previous is not None and path.exists():
            path.replace(previous)
        temporary.replace(path)
        if durable:
            sync_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise InputError(f"{path} cannot be written: {error.strerror or error}; what was there before is kept") from error
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def remove_leftovers(folder: Path, pattern: str = "*.tmp") -> None:
    """Removes the temporary files of processes that were killed; for names that only one process ever writes."""
    for path in folder.glob(pattern):
        path.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Waits until the names in a folder are on the disk, where the system can tell."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def claim(folder: Path, record: Mapping, pattern: str, way_out: str) -> None:
    """Marks a folder as made in a certain way, so that files made in different ways never mix.

    Args:
        folder: made where it is missing.
        record: what the files depend on, as plain values; kept in `claim_file(folder)`.
        pattern: of the files that count.
        way_out: what the user can do instead.

    Raises:
        InputError: it holds files of another making.
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
    elif before != record:
        names = sorted({*before, *record}) if isinstance(before, dict) else []
        changed = [
            f"{name} {before.get(name)!r}, not {record.get(name)!r}"
            for name in names
            if before.get(name) != record.get(name)
        ]
        raise InputError(f"{folder} was made with {'; '.join(changed) or 'something else'}. {way_out}")


def claim_file(folder: Path) -> Path:
    """`dict` -> `dict.made_with.json`: beside the folder, for other tools read all that is in it."""
    return folder.with_name(f"{folder.name}.made_with.json")


def previous_file(path: Path) -> Path:
    """`last.pth` -> `last.previous.pth`: the checkpoint before."""
    return path.with_name(f"{path.stem}.previous{path.suffix}")
