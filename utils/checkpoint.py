"""Checkpoints: written whole or not at all, read without executing anything, loaded strictly."""

import pickle
import re
import zipfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .errors import InputError
from .files import whole_file


def save_file(content: Any, path: Path) -> None:
    """Writes a checkpoint that is either complete or, if something fails on the way, not there."""
    with whole_file(path, durable=True) as file:
        torch.save(content, file)


def require_finite(module: nn.Module) -> None:
    """Raises InputError where a parameter is not finite: such weights must not replace the last good checkpoint."""
    bad = next((name for name, p in module.named_parameters() if not p.isfinite().all()), None)
    if bad:
        raise InputError(f"{bad} is no longer finite; the last checkpoint is from before. Try a smaller --lr or --amp off")


def load_file(path: Path, hint: str = "") -> Any:
    """Reads a checkpoint onto the CPU; large tensors are only mapped into memory.

    Args:
        path: the file.
        hint: what to say where it is missing: where it is published and what else will do.

    Raises:
        InputError: the file is missing, is no checkpoint, or holds more than tensors and plain values.
    """
    if not path.is_file():
        raise InputError(f"{path} is missing" + (f". {hint}" if hint else ""))
    try:
        # Only the zip format, PyTorch's own since 1.6, can be mapped.
        return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    # A damaged file can raise nearly anything.
    except Exception as error:
        if isinstance(error, pickle.UnpicklingError) and (foreign := re.search(r"GLOBAL (\S+)", str(error))):
            reason = f"it refers to {foreign[1]}; only tensors and plain values are loaded"
            raise InputError(f"{path} could run code and is refused: {reason}") from error
        raise InputError(f"{path} is no PyTorch checkpoint or is damaged ({type(error).__name__})") from error


def state_dict_of(content: Any, path: Path) -> dict[str, Tensor]:
    """The parameters in a checkpoint: at its top or under `model`, with or without DistributedDataParallel's prefix.

    Raises:
        InputError: there are none.
    """
    if isinstance(content, Mapping) and isinstance(content.get("model"), Mapping):
        content = content["model"]
    if (
        not isinstance(content, Mapping)
        or not content
        or not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in content.items())
    ):
        raise InputError(f"{path} holds no parameters, neither at its top nor under 'model'")
    return {name.removeprefix("module."): value for name, value in content.items()}


def load_strictly(module: nn.Module, state: Mapping[str, Tensor], path: Path, ignore: Collection[str] = ()) -> None:
    """Loads parameters, all of them and no others.

    Args:
        module: what receives them.
        state: parameters by name.
        path: their file, for the message.
        ignore: prefixes of names that the file may hold without the module needing them.

    Raises:
        InputError: names or shapes differ, or a value is not finite; the first few are named.
    """
    state = {name: value for name, value in state.items() if not name.startswith(tuple(ignore))}
    own = module.state_dict()
    problems = [f"{name} is missing" for name in own if name not in state]
    problems += [f"{name} is not known" for name in state if name not in own]
    problems += [
        f"{name} is {tuple(state[name].shape)}, not {tuple(value.shape)}"
        for name, value in own.items()
        if name in state and state[name].shape != value.shape
    ]
    if not problems:
        problems = [f"{name} is not finite" for name, v in state.items() if v.is_floating_point() and not v.isfinite().all()]
    if problems:
        more = f" and {len(problems) - 4} more" if len(problems) > 4 else ""
        raise InputError(f"{path} does not fit the network: {'; '.join(problems[:4])}{more}")
    module.load_state_dict(state)
