"""A training step as the engine takes it: a network, and the losses of a batch."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Generic, TypeVar

from torch import Tensor, nn

from ..machine.device import Precision
from .seeding import sample_noise

NetworkT = TypeVar("NetworkT", bound=nn.Module)


class Step(nn.Module, ABC, Generic[NetworkT]):
    """Everything between a batch and its losses.

    Args:
        net: the network that is trained.
        precision: precision of the network.
    """

    def __init__(self, net: NetworkT, precision: Precision):
        super().__init__()
        self.net = net
        self.precision = precision

    @abstractmethod
    def forward(self, image01: Tensor, labels: Tensor, noise: dict[int, Tensor], epoch: int) -> dict[str, Tensor]:
        """Args:
            image01: (B, 3, S, S) in [0, 1].
            labels: what the data set gives for each image.
            noise: standard normal (B, *shape) for each of `noise_shapes`.
            epoch: counted from 0.

        Returns:
            Weighted losses by name.
        """

    def noise_shapes(self, image01: Tensor, epoch: int) -> dict[int, tuple[int, int, int]]:
        """Shape of one image's noise for each diffusion step whose noise `forward` needs; empty without a denoiser."""
        return {}

    def noise(self, image01: Tensor, seed: int, epoch: int, samples: Sequence[int]) -> dict[int, Tensor]:
        """Standard normal noise (B, *shape) for each of `noise_shapes`, by seed, epoch and sample."""
        shapes = self.noise_shapes(image01, epoch)
        return {t: sample_noise(seed, epoch, samples, t, shape, image01.device) for t, shape in shapes.items()}
