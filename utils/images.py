"""Images as RGB, upright: files of every kind, and what is in memory already."""

import errno
import warnings
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps, features

from .errors import InputError
from .folders import is_hidden

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
"""Suffixes in lower case by the kind of image file, as pillow names kinds."""
HEIF_SUFFIXES = (".heic", ".heif", ".hif")
UNREAD = dict.fromkeys(HEIF_SUFFIXES, "HEIC is read where pillow-heif is installed (pip install pillow-heif)") | {
    ".avif": "this pillow was built without AVIF",
    **dict.fromkeys((".jp2", ".jxl", ".psd", ".xcf", ".svg", ".pdf", ".eps"), "such files are not read: save it as PNG"),
    **dict.fromkeys(
        (".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".raf", ".rw2"), "raw files are not read: save it as PNG"
    ),
    **dict.fromkeys((".mp4", ".mov", ".avi", ".mkv"), "films are not read: save its frames as images"),
}
"""Why pictures of some kinds are not read, by suffix."""
for kind, suffixes, is_read in (("AVIF", (".avif",), features.check("avif")), ("HEIF", HEIF_SUFFIXES, pillow_heif)):
    if is_read:
        SUFFIXES[kind] = suffixes
        UNREAD = {suffix: reason for suffix, reason in UNREAD.items() if suffix not in suffixes}
FORMATS = tuple(SUFFIXES)
"""Kinds of image files that are read, whatever their names say: some others run programs."""
IMAGE_SUFFIXES = tuple(suffix for suffixes in SUFFIXES.values() for suffix in suffixes)
"""The most frequent first."""
LEVELS = (255.0, 1023.0, 4095.0, 16383.0, 65535.0)
"""What is white in integers of 8, 10, 12, 14 and 16 bits."""
BRIGHTEST_FLOAT = 2.0
"""Floats up to here count as 0 .. 1, a little overshot, larger ones as integers would."""
DARK = 63
"""Of 255: the brightest that the upper 8 of 16 bits are where only 14 are used."""
BITS_PER_SAMPLE, LARGEST_SAMPLES = 258, (281, 341)
"""Tags of TIFF."""


class Depth(NamedTuple):
    """How an image of more than 8 bits was brought to 8."""

    kind: str  # integers or floats
    white: float  # what became 255


def is_image_name(name: str) -> bool:
    """Whether the suffix is one of images, and the file not hidden."""
    return not is_hidden(name) and name.lower().endswith(IMAGE_SUFFIXES)


def why_unread(name: str) -> str:
    """Why a file is not taken for an image, by its name; empty for an image."""
    suffix = Path(name).suffix.lower()
    if is_hidden(name):
        return "macOS keeps such a file beside each of its own" if name.startswith("._") else "it is hidden"
    if is_image_name(name):
        return ""
    return UNREAD.get(suffix, f"{suffix} is no suffix of images" if suffix else "it has no suffix")


def open_rgb(path: Path, white: float = 0.0) -> Image.Image:
    """An image file as RGB, turned upright where its EXIF data say that it was taken otherwise.

    Args:
        path: the file.
        white: see `to_rgb`.

    Raises:
        InputError: it is missing or no readable image.
    """
    return open_with_depth(path, white)[0]


def open_with_depth(path: Path, white: float = 0.0) -> tuple[Image.Image, Depth | None]:
    """What `open_rgb` gives, and how more than 8 bits were brought to 8."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            warnings.filterwarnings("ignore", "Palette images with Transparency")
            with Image.open(path, formats=FORMATS) as file:
                return to_rgb(file, white)
    except InputError as error:
        raise InputError(f"{path} {error}") from error
    # A damaged file, or damaged EXIF data in it, can raise nearly anything.
    except Exception as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOENT, errno.ELOOP):
            raise InputError(f"{path} {why_missing(path)}") from error
        reason = why_unread(path.name) or str(error)
        raise InputError(f"{path} is no readable image: {reason}") from error


def why_missing(path: Path) -> str:
    """What is wrong with a path where there is no file."""
    return "is a link that leads nowhere" if path.is_symlink() else "is missing"


def upright_rgb(image: Image.Image, white: float = 0.0) -> Image.Image:
    """An image of any mode as RGB, turned upright as its EXIF data say; see `to_rgb`."""
    return to_rgb(image, white)[0]


def to_rgb(image: Image.Image, white: float = 0.0) -> tuple[Image.Image, Depth | None]:
    """An image of any mode as RGB, turned upright as its EXIF data say, and how more than 8 bits were brought to 8.

    Greyscale, palette and CMYK images are converted; transparency is dropped.

    Args:
        image: the image.
        white: the value that is white where there are more than 8 bits; 0 takes the smallest of 1 (for floats), 255, 1023,
            4095, 16383 and 65535 that is no less than all values, and than what a TIFF says of them.

    Raises:
        InputError: its values cannot be told what they mean.
    """
    told = largest_told(image)
    was_cut = ";16" in repr(getattr(image, "tile", "")) and not image.mode.startswith("I")
    image = ImageOps.exif_transpose(image)
    depth = None
    if image.mode == "F" or image.mode.startswith("I"):  # of which "RGB" would cut off what is beyond 255
        values = np.asarray(image)
        depth = Depth("floats" if image.mode == "F" else "integers", white or white_of(values, told))
        image = Image.fromarray(to_8_bits(values, depth.white))
    image = image.convert("RGB")
    if was_cut and not white and 0 < (brightest := np.asarray(image).max()) <= DARK:
        raise InputError(
            f"has 16 bits for each colour, of which the upper 8 are read, and they are at most {brightest} of 255: save it "
            "with 8 bits, or say with --white-level 65535 that it is as dark"
        )
    return image, depth


def largest_told(image: Image.Image) -> float:
    """The largest value that an image says it may have; 0 where it says nothing."""
    if image.format == "PPM":  # whose values pillow has brought to 16 bits
        return LEVELS[-1]
    tags = getattr(image, "tag_v2", {})

    def numbers(tag: int) -> list[float]:
        return [float(value) for value in np.atleast_1d(np.asarray(tags.get(tag, 0)))]

    bits = numbers(BITS_PER_SAMPLE)[0]
    return max([2**bits - 1 if 8 < bits < 16 else 0.0, *(value for tag in LARGEST_SAMPLES for value in numbers(tag))])


def white_of(values: np.ndarray, told: float) -> float:
    """The value that is white in an image of more than 8 bits.

    Args:
        values: (H, W) integers or floats.
        told: by the file, 0 for nothing.

    Raises:
        InputError: there are negative values, others that are no numbers, or larger ones than 16 bits have.
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
    """(H, W) integers or floats as uint8, of which 0 stays and `white` becomes 255; what is beyond is cut off."""
    if values.dtype.kind != "f" and white == LEVELS[-1]:
        return (values.clip(0, 65535) // 257).astype(np.uint8)
    return (np.nan_to_num(values.astype(np.float64)) / white * 255).round().clip(0, 255).astype(np.uint8)


def images_in(folder: Path) -> Iterator[Path]:
    """The image files right inside a folder, sorted."""
    return (path for path in sorted(folder.iterdir()) if is_image_name(path.name) and path.is_file())


def named_by_reason(files: Iterable[Path], root: Path, shown: int = 5) -> str:
    """Files that are no images, the first few with the reason why each kind is none.

    Args:
        files: what is no image.
        root: that names are relative to.
        shown: how many of each kind are named.
    """
    reasons: dict[str, list[str]] = {}
    for path in files:
        reason = why_missing(path) if not path.exists() else why_unread(path.name)
        reasons.setdefault(reason, []).append(str(path.relative_to(root)))
    return "; ".join(f"{first_of(names, shown)} ({reason})" for reason, names in reasons.items())


def first_of(names: Collection[str], shown: int) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(list(names)[:shown]) + more
