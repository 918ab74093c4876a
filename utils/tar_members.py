"""Files inside uncompressed tar archives, under paths that say where their bytes are.

`web/train-000003.tar#1536+84211/dog.jpg` is the file dog.jpg: 84,211 bytes of web/train-000003.tar, from byte 1,536 on. Any
process can read it in one operation and in any order, without an index.
"""

import functools
import io
import os
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from .errors import InputError

MEMBER = re.compile(r"(.+\.tar)#(\d+)\+(\d+)/[^/]+", re.DOTALL)
SHARD = re.compile(r"(?:(.*)-)?[0-9]{5,}\.tar", re.DOTALL)
"""Names of shards: archives with five or more digits, after the name of a list if they have one."""
LONGEST_END = 1 << 20
"""In bytes: what is looked at of the zeros that end an archive."""
MOST_OPEN = 256
"""Archives that a process keeps open; many systems allow it 1,024 files in all."""


class Member(NamedTuple):
    """A file inside an archive."""

    name: str  # its path in the archive
    offset: int  # of its first byte
    size: int  # in bytes


class OpenArchive:
    """An archive that is closed when nothing uses it any more, also if several threads read from it."""

    def __init__(self, path: str):
        self.descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))

    def read(self, size: int, offset: int) -> bytes:
        """Bytes from an offset on; fewer at the end of the archive."""
        return os.pread(self.descriptor, size, offset)

    def __del__(self) -> None:
        if hasattr(self, "descriptor"):
            os.close(self.descriptor)


open_archive = functools.lru_cache(MOST_OPEN)(OpenArchive)


def is_shard(name: str) -> bool:
    """Whether a file's name is that of a shard."""
    return SHARD.fullmatch(name) is not None


def member_path(archive: Path, member: Member) -> Path:
    """The path of a file inside an archive."""
    return archive.with_name(f"{archive.name}#{member.offset}+{member.size}") / member.name.rsplit("/", 1)[-1]


def place_of(path: Path | str) -> re.Match[str] | None:
    """Archive, offset and size of a file inside an archive; None for an ordinary file."""
    text = os.fspath(path)
    return MEMBER.fullmatch(text) if ".tar#" in text else None  # the search spares ordinary paths the expression


def archive_of(path: Path | str) -> str:
    """The archive that holds a file; for an ordinary file, its own path."""
    found = place_of(path)
    return found[1] if found else os.fspath(path)


def folder_of(path: Path) -> Path:
    """The folder of a file, or of the archive that holds it."""
    return Path(archive_of(path)).parent


def readable(path: Path) -> Path | io.BytesIO:
    """What to open in place of a path: the bytes of a file inside an archive, or the path of an ordinary file.

    Raises:
        OSError: the archive is missing, or ends before the file does.
    """
    found = place_of(path)
    if found is None:
        return path
    archive, offset, size = found[1], int(found[2]), int(found[3])
    content = open_archive(archive).read(size, offset)
    if len(content) < size:
        raise OSError(f"{archive} ends before it")
    return io.BytesIO(content)


def members(archive: Path) -> Iterator[Member]:
    """The regular files in an archive, in order, with their offsets; only the headers are read.

    Raises:
        InputError: it is missing, compressed, damaged, or cut off.
    """
    open_archive.cache_clear()  # an archive that was replaced is not read from its old file
    try:
        size = archive.stat().st_size
        with tarfile.open(archive, "r:") as tar:
            for entry in tar:
                if entry.offset_data + entry.size > size:
                    raise InputError(f"{archive} is cut off: {entry.name} ends after it")
                if entry.issparse():
                    raise InputError(f"{archive} holds {entry.name} as a sparse file, which is not read")
                if entry.isreg():
                    yield Member(entry.name, entry.offset_data, entry.size)
                tar.members.clear()  # type: ignore[attr-defined]  # it would keep all headers
            end = tar.offset
        # tarfile also ends at a damaged header, without an error.
        with archive.open("rb") as file:
            file.seek(end)
            rest = file.read(LONGEST_END)
        if len(rest) < tarfile.BLOCKSIZE or rest.strip(b"\0"):
            raise InputError(f"{archive} is cut off or damaged at byte {end}: no end of the archive is there")
    except FileNotFoundError as error:
        raise InputError(f"{archive} is missing") from error
    # Damaged headers can raise nearly anything.
    except (OSError, tarfile.TarError, ValueError, EOFError) as error:
        raise InputError(f"{archive} is no uncompressed tar archive: {error}") from error
