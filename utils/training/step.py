"""A training step as the engine takes it: a network, and the losses of a batch."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Generic, Protocol, TypeVar

from torch import Tensor, nn

from ..machine.device import Precision

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


class Guide(Protocol):
    """A denoiser that guides the network: `diffusion.Guidance`."""

    feature_steps: tuple[int, ...]
    image_step: int

    def features(self, image01: Tensor, noise: Mapping[int, Tensor]) -> Tensor:
        """Features of the images at `feature_steps`."""

    def denoised(self, image01: Tensor, noise: Mapping[int, Tensor]) -> Tensor:
        """The images, denoised from `image_step`."""

    def noise_shape(self, image01: Tensor) -> tuple[int, int, int]:
        """Shape of the noise of one image."""


class Criterion(Protocol):
    """The losses of the network's outputs: `models.DiGLoss`."""

    def uses_features(self, epoch: int) -> bool:
        """Whether a loss of an epoch needs the denoiser's features."""

    def uses_denoised(self, epoch: int) -> bool:
        """Whether a loss of an epoch needs the denoised images."""

    def __call__(self, original: Any, denoised: Any, labels: Tensor, epoch: int) -> dict[str, Tensor]:
        """Weighted losses by name."""
