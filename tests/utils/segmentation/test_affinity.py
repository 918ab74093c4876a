"""Affinities of places: pairs, losses, walks."""

import pytest
import torch
from torch import nn

from utils.cams.walk import disc_offsets, neighbours
from utils.machine.device import Precision
from utils.segmentation.affinity import AffinityStep, carry, grid_of, half_disc, pairs

CPU = Precision("off", torch.device("cpu"))


class Colours(nn.Module):
    """The embedding of a place is its colour, many times over."""

    def __init__(self, strength: float = 20.0):
        super().__init__()
        self.strength = nn.Parameter(torch.tensor(strength))

    def forward(self, image):
        return self.strength * image


def test_half_a_disc_and_its_opposite_are_the_disc():
    half = half_disc(5)
    assert sorted([*half, *((-y, -x) for y, x in half)]) == sorted(disc_offsets(5))
    assert all(y >= 0 for y, _ in half)


@pytest.mark.parametrize("offset", [(0, 1), (2, -3), (1, 0), (3, 2)])
def test_pairs_are_places_an_offset_apart(offset):
    maps = torch.arange(56.0).reshape(1, 7, 8)
    one, other = pairs(maps, *offset)
    assert one.shape == other.shape == (1, 7 - offset[0], 8 - abs(offset[1]))
    seen = neighbours(maps, [offset])[0]
    left = max(0, -offset[1])
    torch.testing.assert_close(other, seen[:, : 7 - offset[0], left : left + other.shape[-1]])


def step_on(image: torch.Tensor, mask: torch.Tensor, strength: float = 20.0) -> dict[str, float]:
    step = AffinityStep(Colours(strength), CPU, stride=4, radius=2)
    return {name: float(loss.detach()) for name, loss in step(image, mask, {}, 0).items()}


def two_halves() -> tuple[torch.Tensor, torch.Tensor]:
    image, mask = torch.zeros(1, 3, 32, 32), torch.zeros(1, 32, 32, dtype=torch.uint8)
    image[:, :, :, 16:], mask[:, :, 16:] = 1, 7
    return image, mask


def test_losses_are_small_where_embeddings_tell_classes_apart_and_large_where_they_do_not():
    image, mask = two_halves()
    good, blind = step_on(image, mask), step_on(image, mask, strength=0.0)
    assert max(good.values()) < 1e-3
    assert blind["different"] > 5
    assert step_on(image, 7 * (torch.arange(32) % 8 // 4)[None, None].expand(1, 32, 32).byte())["different"] > 1


def test_places_that_are_not_sure_count_for_nothing():
    image, mask = two_halves()
    assert set(step_on(image, torch.full_like(mask, 255)).values()) == {0.0}
    noisy = image.clone()
    unsure = mask.clone()
    noisy[:, :, :8], unsure[:, :8] = torch.rand(1, 3, 8, 32), 255
    assert step_on(noisy, unsure) == pytest.approx(step_on(image, unsure))


def test_gradients_reach_the_network():
    image, mask = two_halves()
    step = AffinityStep(Colours(0.5), CPU, stride=4, radius=2)
    sum(step(image, mask, {}, 0).values()).backward()
    assert step.net.strength.grad < 0  # larger differences would be better


def test_a_cam_stays_where_affinities_keep_it():
    image, _ = two_halves()
    cam = torch.zeros(1, 32, 32)
    cam[:, 8:16, 4:8] = 1
    spread = carry(Colours(), (255 * image[0]).byte(), cam, CPU, stride=4, radius=2, power=1.0, steps=64)
    assert spread.shape == cam.shape
    assert spread[:, :, 20:].max() < 1e-3
    left = spread[:, :, :12]
    assert left.min() > 0.5 * left.max() > 0


def test_places_cover_an_image():
    assert grid_of((33, 64), 8) == (5, 8)
