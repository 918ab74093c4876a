"""Scripts in processes of their own."""

import os
import subprocess
import sys
from pathlib import Path

from tests.helpers import ROOT


def start(line: str, cwd: Path, *launcher: str) -> subprocess.Popen:
    """Starts a script with one thread for every process."""
    script, *args = line.split()
    env = os.environ | {"CUDA_VISIBLE_DEVICES": "", "XDG_CACHE_HOME": str(cwd / "cache")}
    command = [*(launcher or [sys.executable]), str(ROOT / script), *args]
    return subprocess.Popen(command, cwd=cwd, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen) -> str:
    """What a process that succeeds prints."""
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    return output
