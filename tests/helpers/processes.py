"""Scripts in processes of their own."""

import os
import subprocess
from pathlib import Path

from tests.helpers import ROOT

from .warm import Command


def start(line: str, cwd: Path, merged: bool = False, **environment: str) -> Command:
    """Starts a command on the CPU, with one thread for every process, and a session of its own: it can be killed alone."""
    own = {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", "XDG_CACHE_HOME": str(cwd / "cache"), "PYTHONPATH": str(ROOT)}
    return Command(line, cwd, os.environ | own | environment, merged)


def complete(line: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess:
    """Runs a command to its end, as a user would from the checkout."""
    process = start(line, cwd, **environment)
    output, errors = process.communicate()
    return subprocess.CompletedProcess(line, process.returncode, output, errors)


def finish(process: Command) -> str:
    """What a process that succeeds prints."""
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    return output
