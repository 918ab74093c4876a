"""Pickled `.npy` files of arrays, numbers, strings and dicts, read without trust: nothing in a file runs.

NumPy reads such files through pickle, which executes what they say, and PyTorch's restricted reader takes files of its own
alone. So the names that a pickle of arrays refers to lead to stand-ins here, which check the bytes of a file before use.
"""

import io
import pickle
from collections.abc import Callable
from typing import Any, ClassVar, Literal

import numpy as np


class FileDtype:
    """Stands in for `numpy.dtype`, whose state can make bytes of the file pass for addresses of objects."""

    def __init__(self, name: str, *_: object):
        self.dtype = np.dtype(name) if isinstance(name, str) and "," not in name else np.dtype("V")
        if self.dtype.kind not in "biufcSUO":
            raise pickle.UnpicklingError(f"it holds values of type {name!r}")

    def __setstate__(self, state: tuple) -> None:
        """Takes the byte order; the state of these types holds nothing else."""
        if state[1] in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(state[1])


class FileArray:
    """Stands in for an array that a pickle builds."""

    def __init__(self, *_: object):
        self.array: np.ndarray | None = None

    def __setstate__(self, state: tuple) -> None:
        """Takes shape, type and content."""
        _, shape, kind, fortran, data = state
        self.array = array_of(data, kind, shape, "F" if fortran else "C")


def array_of(
    data: bytes | str | list, kind: FileDtype, shape: tuple[int, ...], order: Literal["C", "F"] = "C"
) -> np.ndarray:
    """The array with some content: values, or their bytes."""
    if kind.dtype.hasobject:
        array = np.empty(len(data), object)
        array[:] = data
    else:
        content = data.encode("latin1") if isinstance(data, str) else data
        array = np.frombuffer(content, kind.dtype)  # type: ignore[arg-type]  # a list is refused here
    return array.reshape(shape, order=order)


def buffer_array(*args: Any) -> FileArray:
    """Stands in for `_frombuffer`."""
    result = FileArray()
    result.array = array_of(*args)
    return result


def scalar(kind: FileDtype, data: bytes) -> np.generic:
    """Stands in for `numpy._core.multiarray.scalar`."""
    return array_of(data, kind, (1,))[0]


def latin1(text: str, encoding: str) -> bytes:
    """Stands in for `_codecs.encode`, with which old protocols spell bytes; other codecs can blow them up."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"it encodes as {encoding}")
    return text.encode("latin1")


# What a pickle of arrays, numbers and dicts refers to; NumPy 2 moved its core, and files of both kinds are about.
ADMITTED = {
    (f"numpy.{core}.{module}", name): value
    for core in ("core", "_core")
    for module, name, value in (
        ("multiarray", "_reconstruct", FileArray),
        ("multiarray", "scalar", scalar),
        ("numeric", "_frombuffer", buffer_array),
    )
} | {("numpy", "ndarray"): FileArray, ("numpy", "dtype"): FileDtype, ("_codecs", "encode"): latin1}


class ArrayUnpickler(pickle._Unpickler):
    """Admits arrays, numbers, strings and dicts, and nothing that could run.

    Python's own unpickler is used and not the one in C, which asks for as much memory as a number in the file says.
    """

    stack: list[Any]
    append: Callable[[object], None]
    read: Callable[[int], bytes]
    pop_mark: Callable[[], list[Any]]
    """What Python's unpickler has, and its published types lack."""

    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = dict(pickle._Unpickler.dispatch)

    def find_class(self, module: str, name: str) -> object:
        """Looks up a name that a pickle refers to."""
        if (module, name) not in ADMITTED:
            raise pickle.UnpicklingError(f"it refers to {module}.{name}")
        return ADMITTED[module, name]

    def put_items(self, items: list) -> None:
        """Puts keys and values, in turn, into the dict on the stack; no nested keys, whose hashing can take for ever."""
        for key in items[::2]:
            if not isinstance(key, int | float | str | bytes | np.generic | None):
                raise pickle.UnpicklingError(f"a key is a {type(key).__name__}")
        self.stack[-1].update(zip(items[::2], items[1::2], strict=True))

    def load_setitem(self) -> None:
        """One key and value."""
        value, key = self.stack.pop(), self.stack.pop()
        self.put_items([key, value])

    def load_setitems(self) -> None:
        """All since the mark."""
        self.put_items(self.pop_mark())

    def load_dict(self) -> None:
        """A dict of all since the mark."""
        items = self.pop_mark()
        self.append({})
        self.put_items(items)

    def load_bytearray8(self) -> None:
        """Bytes; memory is taken only for those that the file holds."""
        self.append(bytearray(self.read(int.from_bytes(self.read(8), "little"))))

    dispatch[pickle.BYTEARRAY8[0]] = load_bytearray8
    dispatch[pickle.SETITEM[0]] = load_setitem
    dispatch[pickle.SETITEMS[0]] = load_setitems
    dispatch[pickle.DICT[0]] = load_dict
    for opcode in (pickle.EMPTY_SET, pickle.ADDITEMS, pickle.FROZENSET):
        del dispatch[opcode[0]]


class WholeBytes(io.BytesIO):
    """Raises EOFError where fewer bytes are left than asked for."""

    def read(self, size: int | None = -1) -> bytes:
        """Exactly `size` bytes."""
        data = super().read(size)
        if len(data) < (size or 0):
            raise EOFError("it breaks off")
        return data


def parse_pickled_npy(data: bytes) -> object:
    """The one object in the bytes of an `.npy` file that `numpy.save` pickled.

    Raises:
        Exception: of nearly any kind, where the file is damaged or holds anything else.
    """
    file = WholeBytes(data)
    version = np.lib.format.read_magic(file)
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read_header(file)
    if shape != () or not dtype.hasobject:
        raise ValueError(f"it holds a {shape} array of {dtype}")
    content = ArrayUnpickler(file).load()
    if isinstance(content, FileArray) and content.array is not None:
        content = content.array.item()
    if isinstance(content, dict):
        return {key: value.array if isinstance(value, FileArray) else value for key, value in content.items()}
    return content
