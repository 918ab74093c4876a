"""DiG's training step: a network guided by a denoiser."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from torch import Tensor

from ..machine.device import Precision
from .step import NetworkT, Step


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


class GuidedStep(Step[NetworkT]):
    """Everything between a batch and its losses: denoiser, network and criterion.

    Args:
        net: `models.DiG`.
        guidance: `diffusion.Guidance`; None if no loss uses it.
        criterion: `models.DiGLoss`.
        normalize: standardises images in [0, 1] for `net`.
        precision: of both networks.
    """

    def __init__(
        self,
        net: NetworkT,
        guidance: Guide | None,
        criterion: Criterion,
        normalize: Callable[[Tensor], Tensor],
        precision: Precision,
    ):
        super().__init__(net, precision)
        self.guidance = guidance
        self.criterion = criterion
        self.normalize = normalize

    def forward(self, image01: Tensor, labels: Tensor, noise: dict[int, Tensor], epoch: int) -> dict[str, Tensor]:
        """Args:
            image01: (B, 3, S, S) in [0, 1].
            labels: (B, C) in {0, 1}.
            noise: standard normal (B, 3, s, s) for each of `noise_shapes`, of the size that the denoiser sees.
            epoch: counted from 0.

        Returns:
            Weighted losses by name.
        """
        features = denoised01 = denoised = None
        guidance = self.guidance
        with self.precision.autocast():
            # The denoiser runs first, so that its activations and the network's are never in memory together.
            if guidance is not None and self.criterion.uses_features(epoch):
                features = guidance.features(image01, noise)
            if guidance is not None and self.criterion.uses_denoised(epoch):
                denoised01 = guidance.denoised(image01, noise)
            original = self.net(self.normalize(image01), features)
            if denoised01 is not None:
                denoised = self.net(self.normalize(denoised01))
        return self.criterion(original, denoised, labels, epoch)

    def noise_shapes(self, image01: Tensor, epoch: int) -> dict[int, tuple[int, int, int]]:
        """See `Step`: a loss of this epoch uses the denoiser's pass at these diffusion steps."""
        if self.guidance is None:
            return {}
        steps = [*self.guidance.feature_steps] if self.criterion.uses_features(epoch) else []
        if self.criterion.uses_denoised(epoch):
            steps.append(self.guidance.image_step)
        return dict.fromkeys(steps, self.guidance.noise_shape(image01))
