"""Images on their way into the network: scales, and batches of one size."""

from typing import NamedTuple

import pytest
import torch
from PIL import Image

from utils.cams.inference import WAITING_BATCHES, batches_of_one_size, network_pixels, network_size


class Sized(NamedTuple):
    """Stands in for a sample: a number, and pixels of some size."""

    number: int
    pixels: tuple[torch.Tensor, ...]


def samples(sizes: list[int]) -> list[Sized]:
    return [Sized(i, (torch.zeros(3, size, 8, dtype=torch.uint8),)) for i, size in enumerate(sizes)]


@pytest.mark.parametrize(
    ("shorter_side", "sizes"),
    [(0, [(3, 60, 100), (3, 30, 50)]), (30, [(3, 30, 50), (3, 15, 25)])],
    ids=["as it is", "resized"],
)
def test_scales_are_of_the_image_as_the_network_takes_it(shorter_side, sizes):
    pixels = network_pixels(Image.new("RGB", (100, 60)), shorter_side, (1.0, 0.5))
    assert [tuple(p.shape) for p in pixels] == sizes


@pytest.mark.parametrize("shape", [(375, 500), (500, 334), (640, 640), (480, 640), (640, 1280), (100, 2000), (7, 9)])
def test_ordinary_images_are_seen_as_they_are(shape):
    assert network_size(*shape, 0) == shape


@pytest.mark.parametrize(
    ("shape", "shorter_side", "cap", "seen"),
    [
        ((3000, 4000), 0, 640, (640, 853)),
        ((4000, 3000), 0, 640, (853, 640)),
        ((641, 700), 0, 640, (640, 698)),
        ((600, 20000), 0, 640, (156, 5225)),  # 2 * 640 * 640 pixels
        ((3000, 4000), 0, 1024, (1024, 1365)),
        ((3000, 4000), 0, 0, (3000, 4000)),
        ((600, 20000), 0, 0, (600, 20000)),
        ((3000, 4000), 2000, 640, (2000, 2666)),  # whoever says a size gets it
        ((200, 20000), 320, 640, (90, 9050)),
        ((300, 400), 96, 640, (96, 128)),
    ],
)
def test_large_images_are_reduced_to_what_memory_allows(shape, shorter_side, cap, seen):
    assert network_size(*shape, shorter_side, cap) == seen
    assert tuple(network_pixels(Image.new("RGB", shape[::-1]), shorter_side, cap=cap)[0].shape[1:]) == seen


def test_the_scale_of_one_changes_no_pixel():
    image = Image.effect_noise((31, 17), 80).convert("RGB")
    assert torch.equal(network_pixels(image, 0, (0.5, 1.0))[1], network_pixels(image, 0)[0])


@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_every_image_is_in_one_batch_of_its_own_size(batch_size):
    given = samples([4, 5, 4, 4, 6, 5, 4, 7, 7, 4, 5, 8])
    batches = list(batches_of_one_size(given, batch_size))
    assert sorted(sample.number for batch in batches for sample in batch) == list(range(len(given)))
    assert all(len({sample.pixels[0].shape for sample in batch}) == 1 <= len(batch) <= batch_size for batch in batches)


def test_images_of_one_size_at_the_first_scale_only_are_not_batched():
    images = [Image.new("RGB", size) for size in ((40, 333), (40, 332), (40, 333), (41, 333))]
    given = [Sized(i, network_pixels(image, 0, (0.5, 1.0, 1.5))) for i, image in enumerate(images)]
    assert given[0].pixels[0].shape == given[1].pixels[0].shape
    batches = list(batches_of_one_size(given, 4))
    assert sorted([sample.number for sample in batch] for batch in batches) == [[0, 2], [1], [3]]


def test_images_of_one_size_fill_batches_in_their_order():
    batches = batches_of_one_size(samples([4, 5, 4, 5, 4]), 2)
    assert [[sample.number for sample in batch] for batch in batches] == [[0, 2], [1, 3], [4]]


def test_a_batch_of_one_keeps_the_order():
    given = samples([4, 5, 4, 6])
    assert [sample for (sample,) in batches_of_one_size(given, 1)] == given


def test_no_more_than_a_few_batches_of_images_wait_for_others_of_their_size():
    taken = 0

    def counted():
        nonlocal taken
        for sample in samples(list(range(8, 108))):  # no two of one size
            taken += 1
            yield sample

    for given, _ in enumerate(batches_of_one_size(counted(), 3)):
        assert taken - given <= WAITING_BATCHES * 3
