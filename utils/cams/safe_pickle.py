"""Safe reading of pickled `.npy` files of arrays, numbers, strings and dicts: no code in a file is executed.

NumPy reads such files with pickle, which can execute code, and PyTorch's restricted unpickler only reads PyTorch's files.
Here the classes and functions that a pickle of arrays refers to are replaced by stand-ins that check the file's bytes.
"""

import io
import pickle
from collections.abc import Callable
from typing import Any, ClassVar, Literal

import numpy as np


class FileDtype:
    """Stands in for `numpy.dtype`, whose pickled state could make NumPy use the file's bytes as object addresses."""

    def __init__(self, name: str, *_: object):
        self.dtype = np.dtype(name) if isinstance(name, str) and "," not in name else np.dtype("V")
        if self.dtype.kind not in "biufcSUO":
            raise pickle.UnpicklingError(f"it holds values of type {name!r}")

    def __setstate__(self, state: tuple) -> None:
        """Restores the byte order, the only state that these types need."""
        if state[1] in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(state[1])


class FileArray:
    """Stands in for `numpy.ndarray`."""

    def __init__(self, *_: object):
        self.array: np.ndarray | None = None

    def __setstate__(self, state: tuple) -> None:
        """Restores shape, type and content."""
        _, shape, kind, fortran, data = state
        self.array = array_of(data, kind, shape, "F" if fortran else "C")


def array_of(
    data: bytes | str | list, kind: FileDtype, shape: tuple[int, ...], order: Literal["C", "F"] = "C"
) -> np.ndarray:
    """An array from its values (a list, for objects) or from their bytes."""
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
    """Stands in for `_codecs.encode`, by which old protocols store bytes; other codecs could decompress to huge data."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"it encodes as {encoding}")
    return text.encode("latin1")


# All names that a pickle of arrays, numbers and dicts refers to. NumPy 2 renamed `core`; files of both versions exist.
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
    """Unpickles arrays, numbers, strings and dicts, and refuses everything else.

    It extends the unpickler in Python, because the one in C allocates as much memory as a number in the file says.
    """

    stack: list[Any]
    append: Callable[[object], None]
    read: Callable[[int], bytes]
    pop_mark: Callable[[], list[Any]]
    """Attributes of Python's unpickler that its type stubs lack."""

    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = dict(pickle._Unpickler.dispatch)

    def find_class(self, module: str, name: str) -> object:
        """The stand-in for a name that a pickle refers to."""
        if (module, name) not in ADMITTED:
            raise pickle.UnpicklingError(f"it refers to {module}.{name}")
        return ADMITTED[module, name]

    def put_items(self, items: list) -> None:
        """Adds alternating keys and values to the dict on the stack. Refuses nested keys: hashing them can take for ever."""
        for key in items[::2]:
            if not isinstance(key, int | float | str | bytes | np.generic | None):
                raise pickle.UnpicklingError(f"a key is a {type(key).__name__}")
        self.stack[-1].update(zip(items[::2], items[1::2], strict=True))

    def load_setitem(self) -> None:
        """Adds one key and value."""
        value, key = self.stack.pop(), self.stack.pop()
        self.put_items([key, value])

    def load_setitems(self) -> None:
        """Adds all keys and values since the mark."""
        self.put_items(self.pop_mark())

    def load_dict(self) -> None:
        """Builds a dict of all keys and values since the mark."""
        items = self.pop_mark()
        self.append({})
        self.put_items(items)

    def load_bytearray8(self) -> None:
        """Builds a bytearray; allocates no more memory than the file has bytes."""
        self.append(bytearray(self.read(int.from_bytes(self.read(8), "little"))))

    dispatch[pickle.BYTEARRAY8[0]] = load_bytearray8
    dispatch[pickle.SETITEM[0]] = load_setitem
    dispatch[pickle.SETITEMS[0]] = load_setitems
    dispatch[pickle.DICT[0]] = load_dict
    for opcode in (pickle.EMPTY_SET, pickle.ADDITEMS, pickle.FROZENSET):
        del dispatch[opcode[0]]


class WholeBytes(io.BytesIO):
    """A byte stream that raises EOFError if fewer bytes are left than requested."""

    def read(self, size: int | None = -1) -> bytes:
        """Exactly `size` bytes."""
        data = super().read(size)
        if len(data) < (size or 0):
            raise EOFError("it breaks off")
        return data


def parse_pickled_npy(data: bytes) -> object:
    """The object in an `.npy` file that `numpy.save` pickled, from the file's bytes.

    Raises:
        Exception: of nearly any kind, if the file is damaged or holds anything else.
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
