"""Randomness that depends on what it is derived from, and on nothing else."""

import itertools
import random

import numpy as np
import pytest
import torch

from utils.training.seeding import Stream, derive_seed, sample_noise, seeded

CPU = torch.device("cpu")


def draw() -> tuple[float, float, float]:
    return random.random(), float(np.random.rand()), float(torch.rand(()))


def test_derived_seeds_repeat():
    assert derive_seed(3, 1, 4) == derive_seed(3, 1, 4)


def test_derived_seeds_fit_every_generator():
    seeds = [derive_seed(a, b) for a in range(20) for b in range(20)]
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_derived_seeds_of_neighbours_differ():
    parts = list(itertools.product(range(8), repeat=3))
    assert len({derive_seed(*p) for p in parts}) == len(parts)


def test_derived_seeds_depend_on_the_order_of_the_parts():
    assert derive_seed(1, 2) != derive_seed(2, 1)


def test_derived_seeds_of_neighbours_share_about_half_of_their_bits():
    differing = [(derive_seed(0, i) ^ derive_seed(0, i + 1)).bit_count() for i in range(200)]
    assert 29 < np.mean(differing) < 34


def test_seeded_blocks_repeat_in_all_three_generators():
    with seeded(5, 6):
        first = draw()
    with seeded(5, 6):
        second = draw()
    assert first == second


def test_seeded_blocks_do_not_depend_on_the_state_outside():
    random.seed(0), np.random.seed(0), torch.manual_seed(0)
    with seeded(5, 6):
        first = draw()
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    with seeded(5, 6):
        assert draw() == first


def test_seeded_blocks_of_other_parts_differ_in_all_three_generators():
    with seeded(5, 6):
        first = draw()
    with seeded(5, 7):
        second = draw()
    assert all(a != b for a, b in zip(first, second, strict=True))


def test_seeded_puts_the_states_of_all_generators_back():
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    expected = draw()
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    with seeded(9):
        draw()
    assert draw() == expected


def test_seeded_puts_the_states_back_after_an_error():
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    expected = draw()
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    with pytest.raises(ZeroDivisionError), seeded(9):
        draw()[0] / 0
    assert draw() == expected


def test_seeded_blocks_nest():
    with seeded(1):
        draw()
        expected = draw()
    with seeded(1):
        draw()
        with seeded(2):
            draw()
        assert draw() == expected


def test_noise_has_the_shape_and_type_of_a_batch():
    noise = sample_noise(0, 0, [4, 2], 1, (3, 5, 7), CPU)
    assert (noise.shape, noise.dtype) == ((2, 3, 5, 7), torch.float32)


def test_noise_of_a_sample_does_not_depend_on_the_rest_of_the_batch():
    together = sample_noise(0, 3, [7, 1, 9], 2, (3, 4, 4), CPU)
    alone = sample_noise(0, 3, [9], 2, (3, 4, 4), CPU)
    assert torch.equal(together[2], alone[0])


def test_noise_follows_its_samples_when_they_are_reordered():
    forward = sample_noise(0, 3, [7, 1, 9], 2, (3, 4, 4), CPU)
    backward = sample_noise(0, 3, [9, 1, 7], 2, (3, 4, 4), CPU)
    assert torch.equal(forward.flip(0), backward)


@pytest.mark.parametrize(
    "other", [(1, 3, 7, 2), (0, 4, 7, 2), (0, 3, 8, 2), (0, 3, 7, 3)], ids=["seed", "epoch", "sample", "step"]
)
def test_noise_depends_on_each_of_its_parts(other):
    seed, epoch, sample, step = other
    reference = sample_noise(0, 3, [7], 2, (3, 4, 4), CPU)
    assert not torch.equal(reference, sample_noise(seed, epoch, [sample], step, (3, 4, 4), CPU))


def test_noise_does_not_depend_on_the_global_generator():
    torch.manual_seed(0)
    first = sample_noise(0, 3, [7], 2, (3, 4, 4), CPU)
    torch.manual_seed(1)
    assert torch.equal(first, sample_noise(0, 3, [7], 2, (3, 4, 4), CPU))


def test_noise_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    sample_noise(0, 3, [7], 2, (3, 4, 4), CPU)
    assert torch.equal(before, torch.get_rng_state())


def test_noise_is_standard_normal():
    noise = sample_noise(0, 0, range(4), 0, (3, 50, 50), CPU)
    assert noise.mean().abs() < 0.03
    assert (noise.std() - 1).abs() < 0.03


def test_noise_of_an_empty_batch_is_empty():
    assert sample_noise(0, 0, [], 0, (3, 4, 4), CPU).shape == (0, 3, 4, 4)


def test_seeds_of_fewer_or_more_parts_differ():
    parts = [(), (0,), (0, 0), (1,), (1, 2), (1, 2, 0), (1, 2, 0, 0), (3,), (3, 0)]
    assert len({derive_seed(*p) for p in parts}) == len(parts)


def test_the_uses_of_randomness_share_no_seed():
    assert len({derive_seed(stream, 0, 0, 0) for stream in Stream}) == len(Stream)
