"""Paired differences of two rows: their mean over seeds, and how sure it is."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .results import Result

T95 = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
    2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip
"""Two-sided 95 % quantiles of Student's t distribution with 1, 2, … 30 degrees of freedom."""
NORMAL95 = 1.960
DRAWS = 2000
"""Sets of images that the bootstrap draws."""


@dataclass(frozen=True)
class Difference:
    """Differences of the mIoU of two rows in points, over the seeds that both have."""

    by_seed: dict[int, float]
    image_interval: tuple[float, float]  # 95 %, of the bootstrap over images

    @property
    def mean(self) -> float:
        """Mean over seeds."""
        return statistics.mean(self.by_seed.values())

    @property
    def deviation(self) -> float:
        """Standard deviation over seeds; nan for a single one."""
        return statistics.stdev(self.by_seed.values()) if len(self.by_seed) > 1 else math.nan

    @property
    def half_width(self) -> float:
        """Half the width of the 95 % interval of the mean over seeds, by Student's t; nan for a single seed."""
        seeds = len(self.by_seed)
        return t95(seeds - 1) * self.deviation / math.sqrt(seeds) if seeds > 1 else math.nan

    def seeds_for(self, points: float) -> int:
        """The number of seeds with which the interval would be ± `points`, if the deviation stays; 0 if unknown."""
        if math.isnan(self.deviation):
            return 0
        seeds = 2
        while t95(seeds - 1) * self.deviation / math.sqrt(seeds) > points:
            seeds += 1
        return seeds


def t95(degrees: int) -> float:
    """Two-sided 95 % quantile of Student's t distribution."""
    return T95[degrees - 1] if degrees <= len(T95) else NORMAL95 + (T95[-1] - NORMAL95) * len(T95) / degrees


def difference(row: Sequence[Result], other: Sequence[Result]) -> Difference:
    """The paired difference of two rows, `row` minus `other`.

    Raises:
        ValueError: they have no seed in common.
    """
    first, second = ({result.seed: result for result in results} for results in (row, other))
    seeds = sorted(first.keys() & second.keys())
    if not seeds:
        raise ValueError("the rows have no seed in common")
    by_seed = {seed: first[seed].miou - second[seed].miou for seed in seeds}
    return Difference(by_seed, bootstrap([first[seed] for seed in seeds], [second[seed] for seed in seeds]))


def bootstrap(row: Sequence[Result], other: Sequence[Result]) -> tuple[float, float]:
    """The 95 % interval of the mean difference over sets of images, drawn with replacement; thresholds stay as they are."""
    images = sorted(row[0].areas)
    if not images:
        return math.nan, math.nan
    weights = np.random.default_rng(0).multinomial(len(images), np.full(len(images), 1 / len(images)), DRAWS)
    drawn = sum(mious(a, images, weights) - mious(b, images, weights) for a, b in zip(row, other, strict=True)) / len(row)
    low, high = np.quantile(drawn, (0.025, 0.975))
    return float(low), float(high)


def mious(result: Result, images: Sequence[str], weights: np.ndarray) -> np.ndarray:
    """(draws,) mIoU in percent of images that are counted (draws, n) times."""
    table = result.table(images)
    right, predicted, true = np.moveaxis((weights @ table.reshape(len(images), -1)).reshape(len(weights), -1, 3), 2, 0)
    found: np.ndarray = (100 * right / np.maximum(predicted + true - right, 1)).mean(1)
    return found
