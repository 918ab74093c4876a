"""Commands in processes that start in milliseconds: forks of one that has imported PyTorch, torchvision and timm.

A command's own modules are imported anew each time. Only the libraries are there already: they take four seconds.
"""

import multiprocessing
import os
import runpy
import selectors
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping
from multiprocessing.connection import Connection
from pathlib import Path

from tests.helpers import ROOT

LIBRARIES = ["numpy", "PIL.Image", "torch", "torchvision.transforms.v2", "timm", "timm.data.transforms", "timm.optim"]
KIND = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
CONTEXT = multiprocessing.get_context(KIND)
CONTEXT.set_forkserver_preload(LIBRARIES)


class Command:
    """A command in a process of its own, with the methods of `subprocess.Popen` that tests use.

    Args:
        line: a script of the repository, or -m and a module, with flags, as in a shell.
        cwd: folder that it runs in.
        environment: its environment.
        merged: whether its errors go to its output.
    """

    def __init__(self, line: str, cwd: Path, environment: Mapping[str, str], merged: bool = False):
        self.line = line
        pipes = [CONTEXT.Pipe(duplex=False) for _ in range(2)]
        self.streams = {name: reader for name, (reader, _) in zip(("stdout", "stderr"), pipes, strict=True)}
        self.texts = dict.fromkeys(self.streams, b"")
        writers = [writer for _, writer in pipes]
        self.process = CONTEXT.Process(target=run, args=(shlex.split(line), str(cwd), dict(environment), *writers, merged))
        self.process.start()
        for writer in writers:
            writer.close()

    @property
    def pid(self) -> int:
        """The process's id, which is also that of its session."""
        return self.process.pid

    @property
    def returncode(self) -> int | None:
        """The exit status, or minus the signal that ended it; None while it runs."""
        return self.process.exitcode

    def send_signal(self, number: int) -> None:
        """Sends a signal, unless it has ended."""
        if self.returncode is None:
            os.kill(self.pid, number)

    def wait_for(self, *starts: str, timeout: float = 120) -> str:
        """Waits for a line of its output that starts in one of some ways, and returns it."""
        deadline, seen = time.monotonic() + timeout, 0
        while True:
            lines = self.texts["stdout"].decode().splitlines(keepends=True)
            whole = [line for line in lines if line.endswith("\n")]
            for line in whole[seen:]:
                if line.startswith(starts):
                    return line
            seen = len(whole)
            assert self.read(deadline), f"it ended too early: {self.texts}"

    def read(self, deadline: float) -> bool:
        """Reads what it has printed, when it has; False if it has closed its output.

        Raises:
            subprocess.TimeoutExpired: it printed nothing up to the deadline.
        """
        with selectors.DefaultSelector() as selector:
            for name, stream in self.streams.items():
                selector.register(stream, selectors.EVENT_READ, name)
            ready = selector.select(max(0, deadline - time.monotonic())) if self.streams else ()
        if self.streams and not ready:
            raise subprocess.TimeoutExpired(self.line, 0)
        for key, _ in ready:
            part = os.read(key.fd, 65536)
            self.texts[key.data] += part
            if not part:
                self.streams.pop(key.data).close()
        return bool(self.streams)

    def communicate(self, timeout: float = 600) -> tuple[str, str]:
        """Waits for its end: everything that it has printed, as output and errors.

        Raises:
            subprocess.TimeoutExpired: it has not ended in time; it goes on.
        """
        deadline = time.monotonic() + timeout
        while self.read(deadline):
            pass
        self.process.join(max(0, deadline - time.monotonic()))
        if self.returncode is None:
            raise subprocess.TimeoutExpired(self.line, timeout)
        return self.texts["stdout"].decode(), self.texts["stderr"].decode()


def run(
    words: list[str], cwd: str, environment: dict[str, str], stdout: Connection, stderr: Connection, merged: bool
) -> None:
    """Runs a command in this process, as Python does when it is given on the command line."""
    os.setsid()
    multiprocessing.set_start_method(None, force=True)  # the command's workers start as they always do
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    os.dup2(stdout.fileno(), 1)
    os.dup2((stdout if merged else stderr).fileno(), 2)
    stdout.close()
    stderr.close()
    # Python makes the streams of a pipe like this at its start.
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", closefd=False, errors="backslashreplace", buffering=1)  # noqa: SIM115
    sys.path.insert(0, str(ROOT))
    if words[0] == "-m":
        sys.argv = words[1:]
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = [str(ROOT / words[0]), *words[1:]]
        runpy.run_path(sys.argv[0], run_name="__main__")
