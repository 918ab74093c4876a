"""Locks: one run at a time writes to an experiment, a folder of results or a denoiser's file.

The lock of `experiment/x` is the file `experiment/.x.lock`, which stays there and says who has it. The kernel keeps the lock
itself, and releases it however the process ends. It is a record lock of POSIX: processes that load images do not inherit it,
as they do flock's, so that a run that was killed can go on at once; and file servers pass it on to other machines.

What is not covered: file systems without locks (the start says so), mounts that keep locks to their own machine, readers on
Windows, and other programs.
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
"""How long a start waits for a process that is about to end."""
LEASE_SECONDS = 100.0
"""How long a restart waits: a file server keeps the locks of a machine that is gone for 90 s."""
TAKEN = (errno.EACCES, errno.EAGAIN, errno.EDEADLK)
UNKNOWN = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EINVAL)
"""What file systems without locks answer."""
WINDOWS_BYTE = 2**30
"""The byte that is locked on Windows, far behind the content: what is locked there cannot be read."""

held: set[Path] = set()
"""Lock files of this process: the kernel would let it lock them again, and release both locks with either."""


def lock_file(target: Path) -> Path:
    """The lock of a folder or a file: `experiment/x/dict` -> `experiment/x/.dict.lock`."""
    target = target.resolve()
    return target.with_name(f".{target.name}.lock")


class Lock:
    """The lock of a folder or file.

    Args:
        target: what is locked; it need not exist.
        patience: seconds to wait for another process; None: `PATIENCE_SECONDS`.
    """

    def __init__(self, target: Path, patience: float | None = None):
        self.target = target
        self.path = lock_file(target)
        self.patience = PATIENCE_SECONDS if patience is None else patience
        self.file: IO[bytes] | None = None

    def take(self) -> None:
        """Takes the lock for this process alone, and writes down who has it.

        Raises:
            InputError: another process has it.
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
        with contextlib.suppress(OSError):  # a full disk: then the lock does not tell who has it
            file.truncate(0)
            file.write((json.dumps(this_process()) + "\n").encode())

    def share(self) -> None:
        """Takes the lock together with others who share it; of a process that has it alone, lets others share it.

        Raises:
            InputError: another process has it alone.
        """
        with contextlib.suppress(PermissionError):  # files of others that may be read, and whose lock may not
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
        """Opens the file and locks it, or raises what keeps that from being done."""
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
        """One line that names the process which has the lock."""
        try:
            owner = json.loads(self.path.read_text())
            who = f"process {owner['process']} on {owner['host']} since {owner['since']} ({owner['command']})"
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            who = "another process"
        return f"{self.target} is in use by {who}: wait for its end or stop it"

    def release(self) -> None:
        """Gives the lock back. The file stays: if it were removed, two processes could lock two files of one name."""
        if self.file is not None:
            self.file.close()
            self.file = None
            held.discard(self.path)


def lock(file: IO[bytes], exclusive: bool) -> None:
    """Locks an open file, or raises the system's OSError at once."""
    if fcntl is not None:
        fcntl.lockf(file, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    elif exclusive:
        msvcrt: Any = importlib.import_module("msvcrt")  # of Windows, which knows no shared locks
        file.seek(WINDOWS_BYTE)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        file.seek(0)


def this_process() -> dict[str, str | int]:
    """What a lock file says of the process that has the lock."""
    return {
        "process": os.getpid(),
        "host": socket.gethostname(),
        "since": time.strftime("%Y-%m-%d %H:%M:%S"),
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
    }


@contextlib.contextmanager
def writing(*targets: Path, patience: float | None = None) -> Iterator[list[Lock]]:
    """Keeps other processes from writing to some folders or files, or reading them, for the length of a block.

    Raises:
        InputError: another process does; the message names it.
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
    """Keeps other processes from writing to some folders for the length of a block, where a command of ours has written.

    Raises:
        InputError: another process does; the message names it.
    """
    locks = [Lock(target, patience) for target in targets if lock_file(target).exists()]
    try:
        for one in locks:
            one.share()
        yield
    finally:
        for one in locks:
            one.release()
