"""CAMs carried from pixel to pixel."""

import pytest
import torch

from utils.cams.walk import affinity_weights, colour_weights, dense_walk, disc_offsets, neighbours, ring_offsets, walk

RING = ring_offsets((1, 2))


def drawn(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


def halves(height: int = 12, width: int = 16) -> torch.Tensor:
    """An image whose left half is black and whose right half is white."""
    image = torch.zeros(3, height, width)
    image[:, :, width // 2 :] = 1
    return image


def test_neighbours_are_where_their_offsets_say():
    maps = drawn(2, 7, 9)
    seen = neighbours(maps, [(1, 0), (0, -2)])
    torch.testing.assert_close(seen[0, :, :-1], maps[:, 1:])
    torch.testing.assert_close(seen[1, :, :, 2:], maps[:, :, :-2])
    torch.testing.assert_close(seen[0, :, -1], maps[:, -1])  # beyond the edge the edge goes on


def test_offsets_are_each_there_once():
    assert len(set(ring_offsets())) == len(ring_offsets()) == 48
    assert len(set(disc_offsets(5))) == len(disc_offsets(5)) == 80
    assert (0, 0) not in disc_offsets(2)


@pytest.mark.parametrize("make", [colour_weights, lambda x, offsets: affinity_weights(x, offsets, 4.0)])
def test_weights_sum_to_one_and_leave_what_is_the_same_everywhere(make):
    weights = make(drawn(3, 10, 12), RING)
    assert (weights >= 0).all()
    torch.testing.assert_close(weights.sum(0), torch.ones(10, 12))
    offsets = [*RING, (0, 0)][: len(weights)]
    torch.testing.assert_close(walk(torch.full((2, 10, 12), 0.3), weights, offsets, 5), torch.full((2, 10, 12), 0.3))


def test_a_walk_is_the_weighted_mean_of_the_neighbours():
    maps, weights = drawn(2, 9, 8), colour_weights(drawn(3, 9, 8), RING)
    torch.testing.assert_close(walk(maps, weights, RING, 1), (neighbours(maps, RING) * weights[:, None]).sum(0))


def test_a_cam_does_not_cross_an_edge_of_colour():
    cam = torch.zeros(1, 12, 16)
    cam[:, 4:8, 2:6] = 1
    spread = walk(cam, colour_weights(halves(), RING), RING, 10)
    assert spread[:, :, :8].mean() == pytest.approx(float(cam[:, :, :8].mean()), rel=0.3)
    assert spread[:, :, 8:].max() < 0.05 < spread[:, :, :8].min()


def test_nothing_comes_in_from_beyond_the_edge_along_affinities():
    weights = affinity_weights(torch.zeros(4, 6, 5), [(-1, 0), (0, 1)], 1.0)
    assert (weights[0, 0] == 0).all()
    assert (weights[1, :, -1] == 0).all()
    torch.testing.assert_close(weights[:, 3, 2], torch.full((3,), 1 / 3))


def test_attention_spreads_to_patches_that_attend_to_each_other():
    attention = torch.zeros(6, 6)
    attention[:3, :3] = attention[3:, 3:] = 1
    cam = torch.tensor([[[1.0, 0, 0], [0, 0, 0]]])
    spread = dense_walk(cam, attention, 1.0, 1)
    torch.testing.assert_close(spread, torch.tensor([[[1 / 3, 1 / 3, 1 / 3], [0, 0, 0]]]))
