"""Randomness that depends on (seed, epoch, sample) alone, never on the order in which workers run."""

import contextlib
import random
from collections.abc import Iterator, Sequence
from enum import IntEnum

import numpy as np
import torch
from torch import Tensor


class Stream(IntEnum):
    """What random numbers are for: the first part of a seed, which keeps their uses apart."""

    ORDER = 0
    AUGMENTATION = 1
    NOISE = 2
    STEP = 3
    SAMPLES = 4


def derive_seed(*parts: int) -> int:
    """A 63-bit seed from non-negative integers; close parts, and fewer or more of them, give unrelated seeds."""
    # The count keeps (1, 2) and (1, 2, 0) apart, which SeedSequence pads to the same.
    return int(np.random.SeedSequence((*parts, len(parts))).generate_state(1, np.uint64)[0] >> 1)


@contextlib.contextmanager
def seeded(*parts: int) -> Iterator[None]:
    """Runs a block with Python's, NumPy's and PyTorch's CPU generators seeded, then puts their states back."""
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
    """Standard normal noise of one diffusion step, drawn on the device for each sample by itself.

    Args:
        seed, epoch, step: what the noise depends on beside the sample.
        samples: B indices into the data set.
        shape: of one sample.
        device: where it is drawn; values differ between kinds of device.

    Returns:
        (B, *shape) float32.
    """
    generator = torch.Generator(device)
    noise = torch.empty(len(samples), *shape, device=device)
    for row, sample in zip(noise, samples, strict=True):
        generator.manual_seed(derive_seed(Stream.NOISE, seed, epoch, sample, step))
        row.normal_(generator=generator)
    return noise
