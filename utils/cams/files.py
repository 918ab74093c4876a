"""CAM dicts on disk: `{class index: (H, W) float32}` in a pickled `.npy`, the format that CAM tools of this field read.

With one more key, "size", for (height, width) of the image, the maps are at patch resolution (`utils.cams.patch_size`).
"""

import io
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np

from ..errors import InputError
from ..files import whole_file
from .patch_size import full_size_cams

SIZE = "size"
MAX_SIDE, MAX_PIXELS = 2**15, 2**27
"""More than any image that is opened: what a damaged file may claim at most."""


class FileDtype:
    """Stands in for `numpy.dtype`, whose own can be told to take bytes for addresses of objects."""

    def __init__(self, name: str, *_: object):
        self.dtype = np.dtype(name) if isinstance(name, str) and "," not in name else np.dtype("V")
        if self.dtype.kind not in "biufcSUO":
            raise pickle.UnpicklingError(f"it holds values of type {name!r}")

    def __setstate__(self, state: tuple):
        """Takes the byte order; of these types, nothing else is left to say."""
        if state[1] in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(state[1])


class FileArray:
    """Stands in for an array that a pickle builds."""

    def __init__(self, *_: object):
        self.array: np.ndarray | None = None

    def __setstate__(self, state: tuple):
        """Takes shape, type and content."""
        _, shape, kind, fortran, data = state
        self.array = array_of(data, kind, shape, "F" if fortran else "C")


def array_of(data: bytes | list, kind: FileDtype, shape: tuple[int, ...], order: str = "C") -> np.ndarray:
    """The array with some content: values, or their bytes."""
    if kind.dtype.hasobject:
        array = np.empty(len(data), object)
        array[:] = data
    else:
        array = np.frombuffer(data.encode("latin1") if isinstance(data, str) else data, kind.dtype)
    return array.reshape(shape, order=order)


def buffer_array(*args: object) -> FileArray:
    """Stands in for `_frombuffer`."""
    result = FileArray()
    result.array = array_of(*args)
    return result


def scalar(kind: FileDtype, data: bytes) -> np.generic:
    """Stands in for NumPy's function of this name."""
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

    It is the one in Python, for that in C trusts the numbers in a file: one of them makes it ask for any amount of memory.
    """

    dispatch: ClassVar = dict(pickle._Unpickler.dispatch)

    def find_class(self, module: str, name: str):
        """Looks up a name that a pickle refers to."""
        if (module, name) not in ADMITTED:
            raise pickle.UnpicklingError(f"it refers to {module}.{name}")
        return ADMITTED[module, name]

    def put_items(self, items: list) -> None:
        """Puts keys and values in turn into the dict on the stack; hashing nested keys could take for ever."""
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
        """Bytes, for which no memory is asked before they are there."""
        self.append(bytearray(self.read(int.from_bytes(self.read(8), "little"))))

    dispatch[pickle.BYTEARRAY8[0]] = load_bytearray8
    dispatch[pickle.SETITEM[0]] = load_setitem
    dispatch[pickle.SETITEMS[0]] = load_setitems
    dispatch[pickle.DICT[0]] = load_dict
    for opcode in (pickle.EMPTY_SET, pickle.ADDITEMS, pickle.FROZENSET):
        del dispatch[opcode[0]]


def write_cam_dict(path: Path, cams: Mapping[int, np.ndarray], size: tuple[int, int] | None = None) -> None:
    """Writes maps of an image; the file appears only when it is complete.

    Args:
        path: the file.
        cams: {class index: (H, W) float32}; at patch resolution {class index: (h, w) float32}.
        size: height and width of the image, where the maps are at patch resolution.
    """
    content: dict[int | str, np.ndarray] = {int(c): np.asarray(cam, np.float32) for c, cam in cams.items()}
    if size is not None:
        content[SIZE] = np.array(size)
    with whole_file(path) as file:
        np.save(file, content, allow_pickle=True)


def read_cam_dict(path: Path, shape: tuple[int, int] | None = None, num_classes: int | None = None) -> dict[int, np.ndarray]:
    """Reads CAMs that `write_cam_dict` or another tool of this field wrote; nothing in the file is executed.

    Args:
        path: the file.
        shape: (H, W) that every map must have.
        num_classes: bound of the class indices.

    Returns:
        {class index: (H, W) float32}, in ascending order of the classes; maps at patch resolution are brought to full size.

    Raises:
        InputError: the file is missing, damaged, holds anything else, or does not fit `shape` and `num_classes`.
    """
    maps, size = read_maps(path, num_classes)
    if size is None:
        require_shape(path, maps, shape)
        return maps
    if shape not in (None, size):
        raise InputError(f"{path} is of an image of {size}, not {shape}")
    return full_size_cams(maps, size)


def read_score_dict(path: Path, shape: tuple[int, int], num_classes: int) -> dict[int, np.ndarray]:
    """Reads {0: background, 1 .. C: class, (H, W) float32}, as the CRF and segmentation networks write it.

    Raises:
        InputError: see `read_cam_dict`; or there is no background.
    """
    scores, size = read_maps(path, num_classes + 1)
    if size is not None:
        raise InputError(f"{path} holds CAMs at patch resolution: it is no score dict")
    require_shape(path, scores, shape)
    if 0 not in scores:
        raise InputError(f"{path} has no score for the background, class 0: it is no score dict")
    return scores


def require_shape(path: Path, maps: Mapping[int, np.ndarray], shape: tuple[int, int] | None) -> None:
    """Raises InputError for a map that is not (H, W)."""
    for c, cam in maps.items():
        if shape and cam.shape != shape:
            raise InputError(f"{path}: class {c} is {cam.shape}, not {shape}")


def read_maps(path: Path, num_classes: int | None) -> tuple[dict[int, np.ndarray], tuple[int, int] | None]:
    """The maps in a file as they are, ascending, and the image's size where they are at patch resolution.

    Raises:
        InputError: the file is missing, damaged or holds anything else.
    """
    try:
        content = parse_pickled_npy(path.read_bytes())
    except FileNotFoundError as error:
        raise InputError(f"{path} is missing") from error
    # A damaged pickle can raise nearly anything.
    except Exception as error:
        raise InputError(f"{path} is no CAM dict: {' '.join(str(error).split()) or type(error).__name__}") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} is no CAM dict: it holds a {type(content).__name__}")
    size = image_size(path, content.pop(SIZE)) if SIZE in content else None
    cams = {}
    for key, cam in content.items():
        if not isinstance(key, int | np.integer) or isinstance(key, bool) or not 0 <= key < (num_classes or np.inf):
            raise InputError(f"{path}: {key!r} is no class index below {num_classes or 'infinity'}")
        if not isinstance(cam, np.ndarray) or cam.ndim != 2 or cam.dtype.kind not in "fiu":
            raise InputError(f"{path}: class {key} is no (H, W) array of numbers")
        if size is not None and not (0 < cam.shape[0] <= size[0] and 0 < cam.shape[1] <= size[1]):
            raise InputError(f"{path}: class {key} is {cam.shape}, in an image of {size}")
        with np.errstate(over="ignore"):
            cams[int(key)] = np.array(cam, np.float32)
        if not np.isfinite(cams[int(key)]).all():
            raise InputError(f"{path}: class {key} has values that are not finite")
    return dict(sorted(cams.items())), size


def image_size(path: Path, value: object) -> tuple[int, int]:
    """Height and width that a file says its image has.

    Raises:
        InputError: they are none.
    """
    is_pair = isinstance(value, np.ndarray) and value.shape == (2,) and value.dtype.kind in "iu"
    if not is_pair or not (value.min() > 0 and value.max() < MAX_SIDE and int(value[0]) * int(value[1]) < MAX_PIXELS):
        raise InputError(f"{path}: its size is no height and width of an image")
    return int(value[0]), int(value[1])


class WholeBytes(io.BytesIO):
    """Bytes of which no fewer are read than asked for."""

    def read(self, size: int = -1) -> bytes:
        """As many bytes as that."""
        data = super().read(size)
        if len(data) < (size or 0):
            raise EOFError("it breaks off")
        return data


def parse_pickled_npy(data: bytes) -> object:
    """The one object in the bytes of an `.npy` file."""
    file = WholeBytes(data)
    version = np.lib.format.read_magic(file)
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read_header(file)
    if shape != () or not dtype.hasobject:
        raise ValueError(f"it holds a {shape} array of {dtype}")
    content = ArrayUnpickler(file).load()
    if isinstance(content, FileArray):
        content = content.array.item()
    if isinstance(content, dict):
        return {key: value.array if isinstance(value, FileArray) else value for key, value in content.items()}
    return content
