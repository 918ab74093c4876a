"""Checkpoints: written atomically, read without executing code, loaded strictly."""

import hashlib
import pickle
import re
import sys
import zipfile
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from ..errors import InputError
from ..files import previous_file, whole_file
from ..machine.distributed import is_main

WRAPPERS = ("model", "state_dict", "module", "teacher")
"""Keys under which checkpoints of this field store their parameters."""

OF_ANOTHER = {
    "data": "is of other training images, labels or classes than those there now: undo the change",
    "denoiser": "was trained with another denoiser than that of --diffusion-weights: name the same one",
}
"""What a checkpoint has a digest of, and the message if it is another one."""


def save_file(content: Any, path: Path, keep_previous: bool = False) -> None:
    """Writes a checkpoint; the file appears only when it is complete.

    Args:
        content: tensors and plain values.
        path: the file.
        keep_previous: rename an existing checkpoint to `previous_file(path)` instead of replacing it.

    Raises:
        InputError: it cannot be written, for example because the disk is full; an existing checkpoint is kept.
    """
    with whole_file(path, durable=True, previous=previous_file(path) if keep_previous else None) as file:
        try:
            torch.save(content, file)
        except RuntimeError as error:
            # PyTorch's writer turns the system's OSError into a RuntimeError.
            if not isinstance(error.__context__, OSError) and "PytorchStreamWriter" not in str(error):
                raise
            raise error.__context__ or OSError(str(error).splitlines()[0]) from error


def save_safetensors(state: Mapping[str, Tensor], path: Path) -> None:
    """Writes parameters in the format of safetensors; the file appears only when it is complete.

    Raises:
        InputError: it cannot be written.
    """
    content = safetensors.torch.save({name: value.detach().cpu().contiguous() for name, value in state.items()})
    with whole_file(path, durable=True) as file:
        file.write(content)


def load_last(path: Path, warn: Callable[[str], None]) -> tuple[dict[str, Any], bool]:
    """Loads the last checkpoint of a run, or the previous one if the last is damaged or missing.

    Args:
        path: the run's last checkpoint.
        warn: is called with a warning if the previous one is used.

    Returns:
        The checkpoint's content, and whether it is the previous one.

    Raises:
        InputError: neither can be loaded.
    """
    try:
        return load_of_run(path), False
    except InputError as error:
        if not previous_file(path).is_file():
            raise
        warn(f"warning: {error}; going on from the checkpoint before, {previous_file(path)}")
        return load_of_run(previous_file(path)), True


def load_of_run(path: Path) -> dict[str, Any]:
    """Loads a checkpoint that training has written.

    Raises:
        InputError: it cannot be loaded, or is of another kind.
    """
    content = load_file(path)
    if not isinstance(content, dict):
        raise InputError(f"{path} is no checkpoint of a run: it holds a {type(content).__name__}")
    return content


class LastCheckpoint:
    """The checkpoint that a run is resumed from; the one before it is kept beside it.

    Args:
        path: the file.
        digests: of what the run is trained with, kept in the file; see `require_same`.
        say: is called with a warning if the file is damaged and the one before it is used.
    """

    def __init__(self, path: Path, digests: Mapping[str, str], say: Callable[[str], None]):
        self.path = path
        self.digests = digests
        self.say = say
        self.fell_back = False  # the file is damaged, and must not replace the one before it

    def load(self, net: nn.Module) -> dict[str, Any]:
        """Loads the parameters of a network, and returns all that the file holds.

        Raises:
            InputError: there is no usable checkpoint of this run.
        """
        content, self.fell_back = load_last(self.path, self.say)
        require_same(content, self.digests, self.path)
        load_strictly(net, state_dict_of(content, self.path), self.path)
        return content

    def save(self, net: nn.Module, content: Mapping[str, Any]) -> None:
        """Writes what a run is resumed from; all processes call it.

        Raises:
            InputError: a weight of the network is not finite, or the file cannot be written.
        """
        require_finite(net)
        if is_main():
            save_file({**content, **self.digests}, self.path, keep_previous=not self.fell_back)
        self.fell_back = False


def damage(path: Path) -> str | None:
    """What is wrong with the bytes of a checkpoint; None if all checksums are right.

    PyTorch's format is a zip archive with a checksum for each tensor; PyTorch itself does not verify them.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            # PyTorch stores tensors uncompressed; a compressed entry could expand until memory runs out.
            if sum(entry.file_size for entry in archive.infolist()) > path.stat().st_size:
                return "it is compressed"
            bad = archive.testzip()
    # A damaged archive can raise nearly anything.
    except Exception as error:
        return f"{type(error).__name__}: {' '.join(str(error).split())}"
    return f"the checksum of {bad!r} is wrong" if bad is not None else None


def require_finite(module: nn.Module) -> None:
    """Raises InputError if a parameter is not finite: such weights must not replace the last good checkpoint."""
    bad = next((name for name, p in module.named_parameters() if not p.isfinite().all()), None)
    if bad:
        raise InputError(f"{bad} is no longer finite; the last checkpoint is from before. Try a smaller --lr or --amp off")


def load_file(path: Path, hint: str = "") -> Any:
    """Reads a checkpoint onto the CPU; tensors are memory-mapped where the format allows it.

    Args:
        path: the file.
        hint: end of the message for a missing file: where it is published, or what to use instead.

    Raises:
        InputError: the file is missing, is no checkpoint, or holds more than tensors and plain values.
    """
    if not path.is_file():
        raise InputError(f"{path} is missing" + (f". {hint}" if hint else ""))
    if path.suffix == ".safetensors":
        try:
            return safetensors.torch.load_file(path)
        except (safetensors.SafetensorError, OSError, ValueError) as error:
            raise InputError(f"{path} is no safetensors file or is damaged: {error}") from error
    # Only the zip format, PyTorch's default since 1.6, has checksums and can be memory-mapped.
    try:
        archive = zipfile.is_zipfile(path)
    except zipfile.BadZipFile:
        archive = True
    if archive and (problem := damage(path)):
        raise InputError(f"{path} is damaged: {problem}")
    try:
        # Windows does not replace a file that is mapped, and a resumed run replaces its last checkpoint.
        mapped = archive and sys.platform != "win32"
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    # A damaged file can raise nearly anything.
    except Exception as error:
        if isinstance(error, pickle.UnpicklingError) and (foreign := re.search(r"GLOBAL (\S+)", str(error))):
            reason = f"it refers to {foreign[1]}; only tensors and plain values are loaded"
            raise InputError(f"{path} could run code and is refused: {reason}") from error
        raise InputError(f"{path} is no PyTorch checkpoint or is damaged ({type(error).__name__})") from error


def state_dict_of(content: Any, path: Path) -> dict[str, Tensor]:
    """The parameters in a checkpoint, at its top level or under a key of `WRAPPERS`, without the prefix `module.` of DDP.

    Raises:
        InputError: it holds no parameters.
    """
    for wrapper in WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
            break
    if (
        not isinstance(content, Mapping)
        or not content
        or not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in content.items())
    ):
        raise InputError(f"{path} holds no parameters, neither at its top nor under {' or '.join(map(repr, WRAPPERS))}")
    return {name.removeprefix("module."): value for name, value in content.items()}


def require_same(content: Mapping[str, Any], digests: Mapping[str, str], path: Path) -> None:
    """Checks that a checkpoint was trained with what the run has now.

    Args:
        content: the checkpoint. Earlier versions kept no digests, and epochs without guidance none of a denoiser.
        digests: digest by name in `OF_ANOTHER`; empty for a denoiser that is not there.
        path: of the checkpoint, for the message.

    Raises:
        InputError: something has changed.
    """
    for name, now in digests.items():
        before = content.get(name, now)
        if before and now and before != now:
            raise InputError(f"{path} {OF_ANOTHER[name]}, choose another --name, or start afresh with --overwrite")


def digest_of_parameters(module: nn.Module) -> str:
    """The start of the SHA-256 of a module's parameters and buffers, 16 hexadecimal digits."""
    found = hashlib.sha256()
    for name, value in module.state_dict().items():
        found.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
        found.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return found.hexdigest()[:16]


def load_strictly(module: nn.Module, state: Mapping[str, Tensor], path: Path, ignore: Collection[str] = ()) -> None:
    """Loads parameters into a module; names and shapes must agree.

    Args:
        module: the module.
        state: parameters by name.
        path: their file, for the error message.
        ignore: prefixes of names in the file that the module need not have.

    Raises:
        InputError: names or shapes differ, or a value is not finite; the first few are named.
    """
    state = {name: value for name, value in state.items() if not name.startswith(tuple(ignore))}
    problems = misfits(module.state_dict(), state)
    problems += [f"{name} is no plain tensor" for name, v in state.items() if not is_plain(v)]
    if not problems:
        problems = [f"{name} is not finite" for name, v in state.items() if v.is_floating_point() and not v.isfinite().all()]
    if problems:
        more = f" and {len(problems) - 4} more" if len(problems) > 4 else ""
        raise InputError(f"{path} does not fit the network: {'; '.join(problems[:4])}{more}")
    module.load_state_dict(state)


def misfits(own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> list[str]:
    """How names and shapes of parameters differ from a network's own."""
    problems = [f"{name} is missing" for name in own if name not in state]
    problems += [f"{name} is not known" for name in state if name not in own]
    return problems + [
        f"{name} is {tuple(state[name].shape)}, not {tuple(value.shape)}"
        for name, value in own.items()
        if name in state and state[name].shape != value.shape
    ]


def is_plain(value: Tensor) -> bool:
    """Whether a tensor is dense and real: not sparse, nested, quantised, complex or on the meta device."""
    is_dense = value.layout == torch.strided and not value.is_quantized and not value.is_nested
    return is_dense and not value.is_complex() and value.device.type != "meta"
