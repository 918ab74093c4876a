"""Whole images: windows, mirror, scales."""

from itertools import pairwise

import pytest
import torch
from torch import nn

from utils.machine.device import Precision
from utils.segmentation.inference import over_windows, segment, starts

CPU = Precision("off", torch.device("cpu"))


class Pointwise(nn.Module):
    """Scores each pixel by itself: windows change nothing."""

    def forward(self, image):
        return torch.cat([image, image.square()], 1)


@pytest.mark.parametrize("length", [1, 31, 32, 33, 50, 100, 257])
def test_windows_cover_a_length_and_overlap(length):
    tops = list(starts(length, 32))
    assert tops[0] == 0
    assert tops[-1] == max(0, length - 32)
    assert all(0 < b - a <= 22 for a, b in pairwise(tops))


@pytest.mark.parametrize("shape", [(32, 32), (33, 70), (20, 100), (90, 41)])
def test_windows_put_together_are_the_whole(shape):
    image = torch.rand(1, 3, *shape, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(over_windows(lambda part: part + 1, image, 32), image + 1)


def test_no_window_is_larger_than_asked_for():
    seen = []
    over_windows(lambda part: seen.append(part.shape[-2:]) or part, torch.rand(1, 3, 100, 70), 32)
    assert set(seen) == {(32, 32)}


def test_probabilities_have_the_images_size_and_sum_to_one():
    pixels = [torch.randint(0, 256, (3, h, w), dtype=torch.uint8) for h, w in ((20, 30), (41, 59))]
    found = segment(Pointwise(), pixels, (25, 33), CPU, mirror=True, window=24)
    assert found.shape == (6, 25, 33)
    torch.testing.assert_close(found.sum(0), torch.ones(25, 33))


def test_the_mirror_image_is_turned_back():
    pixels = [torch.randint(0, 256, (3, 20, 30), dtype=torch.uint8)]
    once, twice = (segment(Pointwise(), pixels, (20, 30), CPU, mirror, 64) for mirror in (False, True))
    torch.testing.assert_close(once, twice)
