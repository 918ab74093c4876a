"""Locks: only one run at a time writes to an experiment, a folder of results or a denoiser's file.

The lock file of `experiment/x` is `experiment/.x.lock`; it is never removed and names the owner. The lock is a POSIX record
lock, which the kernel releases however the process ends. Unlike with flock, child processes that load images do not inherit
it, so that a killed run can be restarted at once; and network file systems share it between machines.

Not covered: file systems without locks (a warning says so), mounts with local locks, readers on Windows, other programs.
"""

import contextlib
import errno
import importlib
import json
import os
import shlex
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from ..errors import InputError

fcntl: Any
try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

PATIENCE_SECONDS = 3.0
"""How long a start waits for a lock, because its owner may be about to end."""
LEASE_SECONDS = 100.0
"""How long a restart waits: a file server keeps the locks of a dead machine for 90 s."""
TAKEN = (errno.EACCES, errno.EAGAIN, errno.EDEADLK)
UNKNOWN = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EINVAL)
"""Errors of file systems without locks."""
WINDOWS_BYTE = 2**30
"""The byte that is locked on Windows, far behind the content, because locked bytes cannot be read there."""

held: set[Path] = set()
"""Lock files that this process holds. The kernel would grant it a lock twice, and releasing one would release both."""


def lock_file(target: Path) -> Path:
    """The lock of a folder or a file: `experiment/x/dict` -> `experiment/x/.dict.lock`."""
    target = target.resolve()
    return target.with_name(f".{target.name}.lock")


class Lock:
    """The lock of a folder or file.

    Args:
        target: the folder or file; it need not exist.
        patience: seconds to wait for another owner; None: `PATIENCE_SECONDS`.
    """

    def __init__(self, target: Path, patience: float | None = None):
        self.target = target
        self.path = lock_file(target)
        self.patience = PATIENCE_SECONDS if patience is None else patience
        self.file: IO[bytes] | None = None

    def take(self) -> None:
        """Acquires the lock exclusively, and writes the owner into the lock file.

        Raises:
            InputError: another process holds the lock.
        """
        self.target.parent.mkdir(parents=True, exist_ok=True)
        try:
            file = self.open(os.O_RDWR | os.O_CREAT, exclusive=True)
        except OSError as error:
            if error.errno not in UNKNOWN:
                raise
            print(
                f"warning: {self.target} is on a file system without locks: nothing keeps a second run from writing to it",
                file=sys.stderr,
            )
            return
        with contextlib.suppress(OSError):  # on a full disk the owner is not recorded
            file.truncate(0)
            file.write((json.dumps(this_process()) + "\n").encode())

    def share(self) -> None:
        """Acquires the lock as a shared one, or turns an exclusive lock of this process into a shared one.

        Raises:
            InputError: another process holds it exclusively.
        """
        with contextlib.suppress(PermissionError):  # another user's results may be readable and their lock file not
            try:
                if self.file is None:
                    self.open(os.O_RDONLY, exclusive=False)
                else:
                    lock(self.file, exclusive=False)
            except FileNotFoundError as error:
                raise InputError(f"{self.path} is missing here: all machines must see the same folders") from error
            except OSError as error:
                if error.errno not in UNKNOWN:
                    raise

    def open(self, flags: int, exclusive: bool) -> IO[bytes]:
        """Opens the lock file and locks it.

        Raises:
            InputError: another process, or this one, holds the lock.
            OSError: the file cannot be opened or locked.
        """
        if self.path in held:
            raise InputError(f"{self.target} is in use by this process already")
        file = os.fdopen(os.open(self.path, flags, 0o666), "r+b" if flags & os.O_RDWR else "rb", buffering=0)
        give_up = time.monotonic() + self.patience
        while True:
            try:
                lock(file, exclusive)
            except OSError as error:
                if error.errno in TAKEN and time.monotonic() < give_up:
                    time.sleep(0.1)
                    continue
                file.close()
                if error.errno in TAKEN:
                    raise InputError(self.refusal()) from error
                raise
            self.file = file
            held.add(self.path)
            return file

    def refusal(self) -> str:
        """The error message that names the owner of the lock."""
        try:
            owner = json.loads(self.path.read_text())
            who = f"process {owner['process']} on {owner['host']} since {owner['since']} ({owner['command']})"
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            who = "another process"
        return f"{self.target} is in use by {who}: wait for its end or stop it"

    def release(self) -> None:
        """Releases the lock. The file stays: if it were removed, two processes could lock two files of the same name."""
        if self.file is not None:
            self.file.close()
            self.file = None
            held.discard(self.path)


def lock(file: IO[bytes], exclusive: bool) -> None:
    """Locks an open file without waiting; raises the system's OSError if another process holds the lock."""
    if fcntl is not None:
        fcntl.lockf(file, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    elif exclusive:
        msvcrt: Any = importlib.import_module("msvcrt")  # Windows has no shared locks
        file.seek(WINDOWS_BYTE)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        file.seek(0)


def this_process() -> dict[str, str | int]:
    """Description of this process for a lock file."""
    return {
        "process": os.getpid(),
        "host": socket.gethostname(),
        "since": time.strftime("%Y-%m-%d %H:%M:%S"),
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
    }


@contextlib.contextmanager
def writing(*targets: Path, patience: float | None = None) -> Iterator[list[Lock]]:
    """Context with exclusive locks on folders or files.

    Raises:
        InputError: another process holds one of the locks; the message names it.
    """
    locks = [Lock(target, patience) for target in targets]
    try:
        for one in locks:
            one.take()
        yield locks
    finally:
        for one in locks:
            one.release()


@contextlib.contextmanager
def reading(*targets: Path, patience: float | None = None) -> Iterator[None]:
    """Context with shared locks on folders or files; those without a lock file, from other tools, are not locked.

    Raises:
        InputError: another process is writing to one of them; the message names it.
    """
    locks = [Lock(target, patience) for target in targets if lock_file(target).exists()]
    try:
        for one in locks:
            one.share()
        yield
    finally:
        for one in locks:
            one.release()
