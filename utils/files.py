"""Files that appear whole or not at all, and folders whose files were all made in one way."""

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

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
    elif not isinstance(before, dict):
        raise InputError(f"{folder} was made with something else. {way_out}")
    elif names := differing(before, record):
        changed = [f"{name} {shown(before.get(name))}, not {shown(record.get(name))}" for name in names]
        raise InputError(f"{folder} was made with {'; '.join(changed)}. {way_out}")


def place(path: Path, folder: Path) -> dict[str, str]:
    """A place as a record keeps it, so that it is found to be the same after all has been copied elsewhere, and after only
    the folder has.

    Args:
        path: the place.
        folder: what its relative path starts from.
    """
    return {"path": str(path.resolve()), "relative": os.path.relpath(path.resolve(), folder.resolve())}


def differing(one: Mapping, other: Mapping) -> list[str]:
    """Names of what two records differ in, sorted; places are one where either of their paths is."""

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
    """`dict` -> `dict.made_with.json`: beside the folder, for other tools read all that is in it."""
    return folder.with_name(f"{folder.name}.made_with.json")


def previous_file(path: Path) -> Path:
    """`last.pth` -> `last.previous.pth`: the checkpoint before."""
    return path.with_name(f"{path.stem}.previous{path.suffix}")
