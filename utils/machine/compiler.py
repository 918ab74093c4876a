"""The compiler that `--compile` needs."""

import os
import shlex
import shutil
import sys

import torch

from ..errors import InputError


def require_compiler(device: torch.device) -> None:
    """Raises InputError if there is no compiler; torch.compile's own error has a hundred lines."""
    if device.type == "cpu":
        variable, usual = "CXX", ["clang++" if sys.platform == "darwin" else "g++"]
    else:
        variable, usual = "CC", ["gcc", "clang"]
    names = [os.environ[variable]] if os.environ.get(variable) else usual
    if not any(shutil.which(shlex.split(name)[0]) for name in names):
        raise InputError(
            f"--compile needs a compiler, and {' or '.join(names)} is not found: install it, name another in ${variable}, "
            "or leave --compile out"
        )
