"""CAM dicts on disk: `{class index: (H, W) float32}` in a pickled `.npy`, the format that CAM tools of this field read.

With the further key "size", (height, width) of the image, the maps are at patch resolution (`utils.cams.patch_size`).
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..files import whole_file
from .patch_size import full_size_cams
from .safe_pickle import parse_pickled_npy

SIZE = "size"
MAX_SIDE, MAX_PIXELS = 2**15, 2**27
"""Limits of an image's size that a file may declare; larger ones mean that it is damaged."""


def write_cam_dict(path: Path, cams: Mapping[int, np.ndarray], size: tuple[int, int] | None = None) -> None:
    """Writes the maps of an image; the file appears only when it is complete.

    Args:
        path: the file.
        cams: {class index: (H, W) float32}, or at patch resolution {class index: (h, w) float32}.
        size: height and width of the image for maps at patch resolution; None for full-size maps.
    """
    content: dict[int | str, np.ndarray] = {int(c): np.asarray(cam, np.float32) for c, cam in cams.items()}
    if size is not None:
        content[SIZE] = np.array(size)
    with whole_file(path) as file:
        np.save(file, np.array(content, object), allow_pickle=True)


def read_cam_dict(path: Path, shape: tuple[int, int] | None = None, num_classes: int | None = None) -> dict[int, np.ndarray]:
    """Reads CAMs that `write_cam_dict` or another tool of this field wrote; nothing in the file is executed.

    Args:
        path: the file.
        shape: (H, W) that every map must have.
        num_classes: class indices must be below it; None: any.

    Returns:
        {class index: (H, W) float32}, in ascending order of the classes; maps at patch resolution are upsampled.

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
        InputError: see `read_cam_dict`; or there are no scores of the background.
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
    """The maps in a file by class index, ascending, and the image's size if they are at patch resolution, else None.

    Raises:
        InputError: the file is missing, damaged or no CAM dict.
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
    """Height and width of the image, as declared by a file.

    Raises:
        InputError: the value is no valid size.
    """
    if isinstance(value, np.ndarray) and value.shape == (2,) and value.dtype.kind in "iu":
        height, width = map(int, value)
        if 0 < height < MAX_SIDE and 0 < width < MAX_SIDE and height * width < MAX_PIXELS:
            return height, width
    raise InputError(f"{path}: its size is no height and width of an image")
