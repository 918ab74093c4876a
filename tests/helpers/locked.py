"""Locks held by another process."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.helpers import ROOT

HOLD = """
import sys, time
from pathlib import Path
from utils.machine.locks import reading, writing
with {kind}(Path(sys.argv[1])):
    print("held", flush=True)
    {then}
    sys.stdin.read()
"""


@contextlib.contextmanager
def held_elsewhere(target: Path, kind: str = "writing", then: str = "pass") -> Iterator[subprocess.Popen]:
    """Context in which another process holds the lock of `target`."""
    command = [sys.executable, "-c", HOLD.format(kind=kind, then=then), str(target)]
    process = subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
