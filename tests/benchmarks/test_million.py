"""The simulation of a million images: limits that can be calculated."""

from dataclasses import replace

import pytest

from benchmarks.million import WAYS, Cluster, Images, Storage, others, simulate
from utils.errors import InputError

FAST = Storage("fast", 0.0, 1e9, 1e15)
SMALL = Cluster(gpus=2, workers=2, batch=4, step=0.1)


def test_storage_that_is_fast_enough_leaves_the_gpus_busy():
    rate = simulate(SMALL, Images(decode=0.001), FAST)
    assert rate.images == pytest.approx(2 * 4 / 0.1)
    assert (rate.limit, rate.share) == ("GPUs", pytest.approx(1))


@pytest.mark.parametrize(
    ("images", "storage", "expected", "limit"),
    [
        (Images(decode=0.1), FAST, 4 / 0.1, "processes that load"),
        (Images(decode=0.001), Storage("far", 0.2, 1e9, 1e15), 4 / 0.201, "processes that load"),
        (Images(decode=0, operations=3), Storage("few", 0.0, 60, 1e15), 20, "operations"),
        (Images(decode=0, size=1000), Storage("narrow", 0.0, 1e9, 30_000), 30, "bandwidth"),
    ],
)
def test_the_slowest_part_sets_the_rate(images, storage, expected, limit):
    rate = simulate(SMALL, images, storage)
    assert rate.images == pytest.approx(expected, rel=0.03)
    assert rate.limit == limit


def test_an_image_of_a_shard_takes_one_operation():
    storage = Storage("few", 0.0, 60, 1e15)
    assert simulate(SMALL, replace(WAYS["shards"], decode=0), storage).images == pytest.approx(60, rel=0.03)


def test_costs_grow_with_the_images():
    few, many = (dict(others(Images(count=count))) for count in (10**5, 10**6))
    assert (few["photographs"], many["photographs"]) == ("11 GB", "112 GB")


def test_it_takes_no_flags():
    from benchmarks.million import main

    with pytest.raises(InputError, match="takes no flags, got --images"):
        main(["--images"])
