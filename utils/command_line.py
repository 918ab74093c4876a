"""A script's command line is read before PyTorch is imported, which takes seconds."""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .errors import run_script
from .experiment.start import parse_run
from .options.flags import parse_options


def check_flags(cls: type, defaults: Callable[[Sequence[str]], Mapping[str, Any]] | None = None) -> None:
    """Answers `--help`, and ends a script whose flags are wrong. Scripts call it between their light and heavy imports.

    Args:
        cls: the script's options.
        defaults: for a training script, a function from the command line to the values of its recipe.
    """
    if "TORCHELASTIC_RUN_ID" in os.environ:
        return  # one of several processes: `main` reports their errors only once

    def parse(args: list[str]) -> None:
        main = sys.modules["__main__"]
        if defaults is None:
            parse_options(cls, args, program(), main.__doc__)
        else:
            parse_run(cls, args, program(), main.__doc__, defaults(args))

    run_script(parse)


def program() -> str:
    """The running script, as it is typed after `python`."""
    spec = sys.modules["__main__"].__spec__
    return f"python -m {spec.name.removesuffix('.__main__')}" if spec else Path(sys.argv[0]).name
