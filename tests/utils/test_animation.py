"""Animations: that they stay small, and how they repeat."""

import io

import numpy as np
import pytest
from PIL import Image

from utils import animation
from utils.animation import SIDES, encode, evenly_spaced, small_animation
from utils.errors import InputError


def noise(i: int, side: int) -> np.ndarray:
    """What compresses worst."""
    return np.random.default_rng(i).integers(0, 256, (side, side, 3), np.uint8)


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


@pytest.mark.parametrize("kind", ["webp", "gif"])
def test_all_frames_are_there_and_repeat_for_ever(kind):
    data, side, frames = small_animation(noise, 3, kind)
    with opened(data) as image:
        assert (image.n_frames, image.size) == (3, (SIDES[0],) * 2)
        assert image.info["loop"] == 0
    assert (side, frames) == (SIDES[0], 3)


@pytest.mark.parametrize("kind", ["webp", "gif"])
def test_the_same_frames_make_the_same_bytes(kind):
    first, second = (encode([noise(i, 32) for i in range(3)], kind) for _ in range(2))
    assert first == second


def test_pictures_shrink_before_frames_go(monkeypatch):
    monkeypatch.setattr(animation, "MOST_BYTES", len(encode([noise(i, 96) for i in range(8)], "webp")))
    data, side, frames = small_animation(noise, 8, "webp")
    assert (side, frames) == (96, 8)
    assert len(data) <= animation.MOST_BYTES


def test_frames_go_where_the_smallest_pictures_are_too_many(monkeypatch):
    monkeypatch.setattr(animation, "MOST_BYTES", len(encode([noise(i, 64) for i in range(8)], "webp")) // 2)
    data, side, frames = small_animation(noise, 8, "webp")
    assert side == SIDES[-1]
    assert 2 <= frames < 8
    assert len(data) <= animation.MOST_BYTES


def test_what_cannot_be_made_small_is_refused(monkeypatch):
    monkeypatch.setattr(animation, "MOST_BYTES", 100)
    with pytest.raises(InputError, match="show fewer"):
        small_animation(noise, 4, "webp")


@pytest.mark.parametrize(("total", "count"), [(1, 4), (4, 4), (5, 2), (100, 7)])
def test_numbers_are_spaced_from_the_first_to_the_last(total, count):
    numbers = [*evenly_spaced(total, count)]
    assert len(numbers) == len(set(numbers)) == min(total, count)
    assert (numbers[0], numbers[-1]) == (0, total - 1)


def test_one_of_many_is_the_first():
    assert [*evenly_spaced(9, 1)] == [0]
