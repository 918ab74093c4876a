"""CAM dicts on disk: `{class index: (H, W) float32}` in a pickled `.npy`, the format that CAM tools of this field read."""

import io
import pickle
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from .errors import InputError
from .files import whole_file

# What a pickle of arrays, numbers and dicts refers to; NumPy 2 moved its core, and files of both kinds are about.
ADMITTED = {
    (f"numpy.{core}.{module}", name)
    for core in ("core", "_core")
    for module, name in (("multiarray", "_reconstruct"), ("multiarray", "scalar"), ("numeric", "_frombuffer"))
} | {("numpy", "ndarray"), ("numpy", "dtype"), ("_codecs", "encode")}


class ArrayUnpickler(pickle.Unpickler):
    """Admits arrays, numbers, strings and dicts, and nothing that could run."""

    def find_class(self, module: str, name: str):
        """Looks up a name that a pickle refers to."""
        if (module, name) not in ADMITTED:
            raise pickle.UnpicklingError(f"it refers to {module}.{name}")
        return super().find_class(module, name)


def write_cam_dict(path: Path, cams: Mapping[int, np.ndarray]) -> None:
    """Writes `{class index: (H, W) float32}`; the file appears only when it is complete."""
    with whole_file(path) as file:
        np.save(file, {int(c): np.asarray(cam, np.float32) for c, cam in cams.items()}, allow_pickle=True)


def read_cam_dict(path: Path, shape: tuple[int, int] | None = None, num_classes: int | None = None) -> dict[int, np.ndarray]:
    """Reads what `write_cam_dict` or another tool of this field wrote; nothing in the file is executed.

    Args:
        path: the file.
        shape: (H, W) that every map must have.
        num_classes: bound of the class indices.

    Returns:
        {class index: (H, W) float32}, in ascending order of the classes.

    Raises:
        InputError: the file is missing, damaged, holds anything else, or does not fit `shape` and `num_classes`.
    """
    try:
        content = parse_pickled_npy(path.read_bytes())
    except FileNotFoundError as error:
        raise InputError(f"{path} is missing") from error
    # A damaged pickle can raise nearly anything.
    except Exception as error:
        raise InputError(f"{path} is no CAM dict: {error}") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} is no CAM dict: it holds a {type(content).__name__}")
    for key, cam in content.items():
        if not isinstance(key, int | np.integer) or isinstance(key, bool) or not 0 <= key < (num_classes or np.inf):
            raise InputError(f"{path}: {key!r} is no class index below {num_classes or 'infinity'}")
        if not isinstance(cam, np.ndarray) or cam.ndim != 2 or cam.dtype.kind not in "fiu":
            raise InputError(f"{path}: class {key} is no (H, W) array of numbers")
        if shape and cam.shape != shape:
            raise InputError(f"{path}: class {key} is {cam.shape}, not {shape}")
        if not np.isfinite(cam).all():
            raise InputError(f"{path}: class {key} has values that are not finite")
    return {int(key): content[key].astype(np.float32, copy=False) for key in sorted(content)}


def parse_pickled_npy(data: bytes) -> object:
    """The one object in the bytes of an `.npy` file."""
    file = io.BytesIO(data)
    version = np.lib.format.read_magic(file)
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read_header(file)
    if shape != () or not dtype.hasobject:
        raise ValueError(f"it holds a {shape} array of {dtype}")
    array = ArrayUnpickler(file).load()
    return array.item() if isinstance(array, np.ndarray) else array
