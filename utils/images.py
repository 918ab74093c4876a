"""Images as upright RGB: from files of many formats, or from memory."""

import errno
import warnings
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from PIL import Image, ImageOps, features

from .errors import InputError
from .folders import is_hidden
from .tar_members import readable

try:
    import pillow_heif

    pillow_heif.register_heif_opener()
except ImportError:
    pillow_heif = None

SUFFIXES = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "PNG": (".png",),
    "WEBP": (".webp",),
    "BMP": (".bmp", ".dib"),
    "GIF": (".gif",),
    "TIFF": (".tif", ".tiff"),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
}
"""Lower-case suffixes by pillow's name of the format."""
HEIF_SUFFIXES = (".heic", ".heif", ".hif")
UNREAD = dict.fromkeys(HEIF_SUFFIXES, "HEIC is read where pillow-heif is installed (pip install pillow-heif)") | {
    ".avif": "this pillow was built without AVIF",
    **dict.fromkeys((".jp2", ".jxl", ".psd", ".xcf", ".svg", ".pdf", ".eps"), "such files are not read: save it as PNG"),
    **dict.fromkeys(
        (".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".raf", ".rw2"), "raw files are not read: save it as PNG"
    ),
    **dict.fromkeys((".mp4", ".mov", ".avi", ".mkv"), "films are not read: save its frames as images"),
}
"""Why files with these suffixes are not read."""
for kind, suffixes, is_read in (("AVIF", (".avif",), features.check("avif")), ("HEIF", HEIF_SUFFIXES, pillow_heif)):
    if is_read:
        SUFFIXES[kind] = suffixes
        UNREAD = {suffix: reason for suffix, reason in UNREAD.items() if suffix not in suffixes}
FORMATS = tuple(SUFFIXES)
"""The only formats that pillow may open, whatever the suffix: it reads some others by running programs."""
IMAGE_SUFFIXES = tuple(suffix for suffixes in SUFFIXES.values() for suffix in suffixes)
"""The most frequent suffixes first."""
LEVELS = (255.0, 1023.0, 4095.0, 16383.0, 65535.0)
"""White level of integers of 8, 10, 12, 14 and 16 bits."""
BRIGHTEST_FLOAT = 2.0
"""Float images with values up to this have the range 0 .. 1 with some overshoot; others are scaled like integers."""
DARK = 63
"""Largest value, of 255, of the upper 8 of 16 bits if only 14 bits are used."""
BITS_PER_SAMPLE, LARGEST_SAMPLES = 258, (281, 341)
"""TIFF tags: BitsPerSample; MaxSampleValue and SMaxSampleValue."""


class Depth(NamedTuple):
    """How an image of more than 8 bits was reduced to 8."""

    kind: str  # integers or floats
    white: float  # the value that became 255


def is_image_name(name: str) -> bool:
    """Whether a file has an image's suffix and is not hidden."""
    return not is_hidden(name) and name.lower().endswith(IMAGE_SUFFIXES)


def why_unread(name: str) -> str:
    """Why a file's name is not that of an image; empty if it is."""
    suffix = Path(name).suffix.lower()
    if is_hidden(name):
        return "macOS keeps such a file beside each of its own" if name.startswith("._") else "it is hidden"
    if is_image_name(name):
        return ""
    return UNREAD.get(suffix, f"{suffix} is no suffix of images" if suffix else "it has no suffix")


def open_rgb(path: Path | BinaryIO, white: float = 0.0) -> Image.Image:
    """Opens an image file as RGB, turned upright by its EXIF orientation.

    Args:
        path: the file, or an open one.
        white: see `to_rgb`.

    Raises:
        InputError: the file is missing or no readable image.
    """
    return open_with_depth(path, white)[0]


def open_with_depth(path: Path | BinaryIO, white: float = 0.0) -> tuple[Image.Image, Depth | None]:
    """The image of `open_rgb`, and how more than 8 bits were reduced to 8; None for 8 bits."""
    name = path if isinstance(path, Path) else getattr(path, "name", "the open file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            warnings.filterwarnings("ignore", "Palette images with Transparency")
            with Image.open(readable(path) if isinstance(path, Path) else path, formats=FORMATS) as file:
                return to_rgb(file, white)
    except InputError as error:
        raise InputError(f"{name} {error}") from error
    # A damaged file, or damaged EXIF data in it, can raise nearly anything.
    except Exception as error:
        if isinstance(path, Path) and isinstance(error, OSError) and error.errno in (errno.ENOENT, errno.ELOOP):
            raise InputError(f"{path} {why_missing(path)}") from error
        if isinstance(path, Path) and path.is_dir():
            raise InputError(f"{path} is a folder, not an image") from error
        reason = (isinstance(path, Path) and why_unread(path.name)) or str(error)
        raise InputError(f"{name} is no readable image: {reason}") from error


def why_missing(path: Path) -> str:
    """Why a path is not a file: missing, or a broken link."""
    return "is a link that leads nowhere" if path.is_symlink() else "is missing"


def upright_rgb(image: Image.Image, white: float = 0.0) -> Image.Image:
    """An image of any mode as RGB, turned upright by its EXIF orientation; see `to_rgb`."""
    return to_rgb(image, white)[0]


def to_rgb(image: Image.Image, white: float = 0.0) -> tuple[Image.Image, Depth | None]:
    """An image of any mode as RGB, turned upright by its EXIF orientation, and how more than 8 bits were reduced to 8.

    Greyscale, palette and CMYK images are converted; transparency is dropped.

    Args:
        image: the image.
        white: white level of an image of more than 8 bits; 0: the smallest of 1 (for floats), 255, 1023, 4095, 16383 and
            65535 that no value exceeds, nor the maximum that a TIFF declares.

    Raises:
        InputError: the white level cannot be determined.
    """
    told = largest_told(image)
    was_cut = ";16" in repr(getattr(image, "tile", "")) and not image.mode.startswith("I")
    image = ImageOps.exif_transpose(image)
    depth = None
    if image.mode == "F" or image.mode.startswith("I"):  # pillow's conversion would clip at 255
        values = np.asarray(image)
        depth = Depth("floats" if image.mode == "F" else "integers", white or white_of(values, told))
        image = Image.fromarray(to_8_bits(values, depth.white))
    image = image.convert("RGB")
    if was_cut and not white and 0 < (brightest := np.asarray(image).max()) <= DARK:
        raise InputError(
            f"has 16 bits for each colour, of which the upper 8 are read, and they are at most {brightest} of 255: save it "
            "with 8 bits, or give --white-level 65535 if it really is that dark"
        )
    return image, depth


def largest_told(image: Image.Image) -> float:
    """The largest value that the file declares for its samples; 0 if it declares none."""
    if image.format == "PPM":  # pillow has scaled its values to 16 bits
        return LEVELS[-1]
    tags = getattr(image, "tag_v2", {})

    def numbers(tag: int) -> list[float]:
        return [float(value) for value in np.atleast_1d(np.asarray(tags.get(tag, 0)))]

    bits = numbers(BITS_PER_SAMPLE)[0]
    return max([2**bits - 1 if 8 < bits < 16 else 0.0, *(value for tag in LARGEST_SAMPLES for value in numbers(tag))])


def white_of(values: np.ndarray, told: float) -> float:
    """White level of an image of more than 8 bits.

    Args:
        values: (H, W) integers or floats.
        told: the largest value that the file declares; 0: none.

    Raises:
        InputError: a value is negative, not finite, or larger than 16 bits allow.
    """
    low, high = float(values.min()), max(float(values.max()), told)
    is_float = values.dtype.kind == "f"
    levels = (1.0, *LEVELS) if is_float else LEVELS
    if not np.isfinite(low) or not np.isfinite(high):
        raise InputError("has values that are no numbers: replace them, or save it as PNG")
    if low < (-0.1 if is_float else 0) or high > LEVELS[-1]:
        raise InputError(f"has values from {low:g} to {high:g}: say with --white-level which is white; 0 is black")
    if is_float and high <= BRIGHTEST_FLOAT:
        return 1.0
    return next(level for level in levels if high <= level)


def to_8_bits(values: np.ndarray, white: float) -> np.ndarray:
    """Scales (H, W) integers or floats linearly to uint8: 0 stays 0, `white` becomes 255; values outside are clipped."""
    if values.dtype.kind != "f" and white == LEVELS[-1]:
        return (values.clip(0, 65535) // 257).astype(np.uint8)
    return (np.nan_to_num(values.astype(np.float64)) / white * 255).round().clip(0, 255).astype(np.uint8)


def images_in(folder: Path) -> Iterator[Path]:
    """The image files of a folder, without sub-folders, sorted."""
    return (path for path in sorted(folder.iterdir()) if is_image_name(path.name) and path.is_file())


def is_packed_image(name: str) -> bool:
    """Whether a file of a shard is a sample's image, by its path there: `dog/1.jpg`, but not `1.seg.png`."""
    last = name.rsplit("/", 1)[-1]
    return is_image_name(last) and last.count(".") == 1


def require_samples(names: Iterable[str], shard: Path) -> None:
    """Checks that each image whose name has several dots, such as `1.seg.png`, lies beside the image of a sample, `1.jpg`.

    Args:
        names: paths of all files in the shard.
        shard: the shard, for the message.

    Raises:
        InputError: an image would be passed over.
    """
    images = [name for name in names if is_image_name(name.rsplit("/", 1)[-1])]
    samples = {sample_of(name) for name in images if is_packed_image(name)}
    if lost := next((name for name in images if sample_of(name) not in samples), None):
        stem = sample_of(lost)
        raise InputError(f"{shard} holds {lost}: a name in a shard ends at its first dot, and there is no {stem}.jpg")


def sample_of(name: str) -> str:
    """The sample that a file in a shard belongs to: its path up to the first dot of its name."""
    folder, slash, last = name.rpartition("/")
    return folder + slash + last.partition(".")[0]


def named_by_reason(files: Iterable[Path], root: Path, shown: int = 5) -> str:
    """Names of files that are no images, grouped by the reason.

    Args:
        files: files that are no images.
        root: folder that the names are relative to.
        shown: how many files are named for each reason.
    """
    reasons: dict[str, list[str]] = {}
    for path in files:
        reason = why_missing(path) if not path.exists() else why_unread(path.name)
        reasons.setdefault(reason, []).append(str(path.relative_to(root)))
    return "; ".join(f"{first_of(names, shown)} ({reason})" for reason, names in reasons.items())


def first_of(names: Collection[str], shown: int) -> str:
    """The first `shown` names, and the number of the others."""
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(list(names)[:shown]) + more
