"""Atomic writing of files, and what tells whether a file has changed."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from .errors import InputError
from .tar_members import archive_of


@contextlib.contextmanager
def whole_file(path: Path, durable: bool = False, previous: Path | None = None) -> Iterator[BinaryIO]:
    """Opens a temporary file for writing, which is renamed to `path` if the block ends without an error.

    Args:
        path: the file; its folder is created if missing.
        durable: wait until the bytes are on the disk, so that not even a power cut leaves an incomplete file.
        previous: new name of an existing file at `path`; None replaces that file.

    Raises:
        InputError: the file cannot be written; an existing file is kept.
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
    """Removes temporary files of killed processes; safe only if no other process is writing such files."""
    for path in folder.glob(pattern):
        path.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Waits until a folder's entries are on the disk, on systems that support it."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def previous_file(path: Path) -> Path:
    """The previous checkpoint's file: `last.pth` -> `last.previous.pth`."""
    return path.with_name(f"{path.stem}.previous{path.suffix}")


def state_of(path: Path | str) -> list[int] | None:
    """Size in bytes and modification time in nanoseconds of a file, or of the archive that holds it; None if missing."""
    try:
        stat = os.stat(archive_of(path))  # noqa: PTH116  texts, unlike Path, take little time for 100,000 files
    except OSError:
        return None
    return [stat.st_size, stat.st_mtime_ns]
