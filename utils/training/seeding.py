"""Random numbers that depend only on (seed, epoch, sample), not on the order in which workers run."""

import contextlib
import random
from collections.abc import Iterator, Sequence
from enum import IntEnum

import numpy as np
import torch
from torch import Tensor


class Stream(IntEnum):
    """The purpose of random numbers: the first part of each derived seed, so that different uses are independent."""

    ORDER = 0
    AUGMENTATION = 1
    NOISE = 2
    STEP = 3
    SAMPLES = 4


def derive_seed(*parts: int) -> int:
    """A 63-bit seed from non-negative integers; similar integers give unrelated seeds."""
    # With the count, (1, 2) and (1, 2, 0) differ; SeedSequence would pad both to the same.
    return int(np.random.SeedSequence((*parts, len(parts))).generate_state(1, np.uint64)[0] >> 1)


@contextlib.contextmanager
def seeded(*parts: int) -> Iterator[None]:
    """Context with seeded Python, NumPy and PyTorch CPU generators; restores their states afterwards."""
    seed = derive_seed(*parts)
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])


def sample_noise(
    seed: int, epoch: int, samples: Sequence[int], step: int, shape: Sequence[int], device: torch.device
) -> Tensor:
    """Standard normal noise of one diffusion step, drawn on the device with a seed of its own for each sample.

    Args:
        seed, epoch, step: parts of the seed, with the sample's index; `step` is the diffusion step.
        samples: B indices into the data set.
        shape: of one sample.
        device: device of the generator; values differ between types of device.

    Returns:
        (B, *shape) float32.
    """
    generator = torch.Generator(device)
    noise = torch.empty(len(samples), *shape, device=device)
    for row, sample in zip(noise, samples, strict=True):
        generator.manual_seed(derive_seed(Stream.NOISE, seed, epoch, sample, step))
        row.normal_(generator=generator)
    return noise
