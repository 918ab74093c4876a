"""`--help` and wrong flags are answered before the imports that take seconds."""

import os
import subprocess
import sys

import pytest

from tests.helpers import ROOT
from tools.flag_tables import COMMANDS

HEAVY = {"torch", "timm", "torchvision", "cv2", "scipy", "pandas", "matplotlib"}


def imports_of(command: str, *args: str) -> tuple[subprocess.CompletedProcess, set[str]]:
    """Runs a command; also the top-level packages that it imported."""
    line = [sys.executable, "-X", "importtime", *command.split(), *args]
    env = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    result = subprocess.run(line, cwd=ROOT, env=env, capture_output=True, text=True)
    times = [row for row in result.stderr.splitlines() if row.startswith("import time:")]
    return result, {row.rpartition("|")[2].strip().partition(".")[0] for row in times}


@pytest.mark.parametrize("command", [*COMMANDS, "train_trm_coco.py"])
def test_help_is_given_without_pytorch(command):
    result, packages = imports_of(command, "--help")
    assert result.returncode == 0
    assert result.stdout.startswith(f"usage: {'python ' if command.startswith('-m') else ''}{command} [-h]")
    assert "argparse" in packages
    assert not packages & HEAVY


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("train_trm.py --name x --epochs 0", "--epochs must be at least 1"),
        ("train_trm_coco.py --name x --exp dig_coco", "--exp dig_coco is no recipe"),
        ("train_affinity.py --name x", "--masks"),
        ("infer_trm.py --name x --dict --scale 2", "did you mean '--scales'?"),
        ("-m tools.refine --name x --method none", "invalid choice: 'none'"),
    ],
)
def test_wrong_flags_are_refused_without_pytorch(line, message):
    result, packages = imports_of(line)
    assert result.returncode == 2
    assert message in result.stderr
    assert not packages & HEAVY
