"""Animations of a bounded size: WebP and GIF as Pillow writes them, the same bytes for the same frames."""

import io
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from .errors import InputError

MOST_BYTES = 2_000_000
SIDES = (240, 200, 160, 128, 96, 64)
"""Longer sides of the pictures in a frame, tried in this order."""
FRAME_MS, LAST_FRAME_MS = 400, 2000


def animation_file(folder: Path) -> Path:
    """Where an experiment keeps the animation of its CAMs."""
    return folder / "cams.webp"


def read_animation(path: Path) -> bytes:
    """An animation of CAMs; empty where there is none.

    Raises:
        InputError: the file is no WebP.
    """
    if not path.is_file():
        return b""
    data = path.read_bytes()
    if data[:4] != b"RIFF" or data[8:12] != b"WEBP":
        raise InputError(f"{path} is no WebP file: python -m tools.animate writes it")
    return data


def small_animation(draw: Callable[[int, int], np.ndarray], count: int, kind: str) -> tuple[bytes, int, int]:
    """The animation with the largest pictures, then with the most frames, that stays within `MOST_BYTES`.

    Args:
        draw: makes a frame, (H, W, 3) uint8, from its number and the longer side of its pictures.
        count: frames.
        kind: webp or gif.

    Returns:
        The file, the side of its pictures and its number of frames.

    Raises:
        InputError: not even two frames of the smallest pictures are small enough.
    """
    numbers: Sequence[int] = range(count)
    for side in SIDES:
        data = encode([draw(i, side) for i in numbers], kind)
        if len(data) <= MOST_BYTES:
            return data, side, count
    while len(numbers) > 2:
        numbers = evenly_spaced(count, max(2, len(numbers) // 2))
        data = encode([draw(i, side) for i in numbers], kind)
        if len(data) <= MOST_BYTES:
            return data, side, len(numbers)
    raise InputError(f"no animation of these images fits into {MOST_BYTES / 1e6:g} MB: show fewer")


def evenly_spaced(total: int, count: int) -> Sequence[int]:
    """At most `count` of the numbers 0 .. total - 1, evenly spaced, the first and the last included."""
    return range(total) if count >= total else np.linspace(0, total - 1, count).round().astype(int).tolist()


def encode(frames: Sequence[np.ndarray], kind: str) -> bytes:
    """Frames (H, W, 3) uint8 of one size as a file that repeats for ever, the last of them shown longer."""
    images = [Image.fromarray(frame) for frame in frames]
    times = [FRAME_MS] * (len(frames) - 1) + [LAST_FRAME_MS]
    file = io.BytesIO()
    settings = {"quality": 75, "method": 4} if kind == "webp" else {}
    images[0].save(file, kind, save_all=True, append_images=images[1:], duration=times, loop=0, **settings)
    return file.getvalue()
