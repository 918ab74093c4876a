"""The losses of DiG: functions, and the table `LOSSES` with their names and inputs."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from .cam import normalize_cam
from .dig import DiGOutput

InputT = TypeVar("InputT", Tensor, DiGOutput)
PUBLISHED_WEIGHTS = (1.0, 1.0, 1.0, 1.0, 10.0)
"""W of the paper, for the first rows of `LOSSES`."""


class LossInputs(NamedTuple):
    """Inputs of the losses, for B images and C classes."""

    labels: Tensor  # (B, C) float32 in {0, 1}
    original: DiGOutput  # for the images
    denoised: DiGOutput | None  # for the denoised images, where a loss needs it
    temperature: float  # T of the distillation
    alpha: float  # A, weight of the image labels in `pred_diff`


def given(part: InputT | None) -> InputT:
    """A part of the inputs that may be left out, for a loss that needs it.

    Raises:
        ValueError: it was left out.
    """
    if part is None:
        raise ValueError("a loss needs denoiser features or denoised images, which were not given")
    return part


def cls(inputs: LossInputs) -> Tensor:
    """Loss 1: image-level classification."""
    return classification(inputs.original, inputs.labels)


def pred_diff(inputs: LossInputs) -> Tensor:
    """Loss 2: the diffusion branch learns from the labels and from the transformer's softened predictions."""
    labels, output, T = inputs.labels, inputs.original, inputs.temperature
    cls_logits, patch_logits = given(output.diffusion_cls_logits), given(output.diffusion_patch_logits)
    supervised = multilabel(cls_logits, labels) + multilabel(patch_logits, labels)
    distilled = distillation(cls_logits, output.cls_logits, T) + distillation(patch_logits, output.patch_logits, T)
    return inputs.alpha * supervised + (1 - inputs.alpha) * T**2 * distilled / 2


def cam_consistency(inputs: LossInputs) -> Tensor:
    """Loss 3: the patch CAM follows the CAM of the diffusion branch."""
    return cam_distance(given(inputs.original.diffusion_cam), inputs.original.patch_cam, inputs.labels)


def cls_diff(inputs: LossInputs) -> Tensor:
    """Loss 4: image-level classification of the denoised images."""
    return classification(given(inputs.denoised), inputs.labels)


def rcams_consistency(inputs: LossInputs) -> Tensor:
    """Loss 5: the refined CAMs of the denoised images follow those of the images."""
    return cam_distance(inputs.original.refined_cam, given(inputs.denoised).refined_cam, inputs.labels)


class Loss(NamedTuple):
    """A row of `LOSSES`."""

    function: Callable[[LossInputs], Tensor]
    needs_features: bool = False  # needs the diffusion branch, and so the denoiser's features
    needs_denoised: bool = False  # needs a forward pass of the denoised images
    waits: bool = False  # is used only from `start_epoch` on


LOSSES = {
    "cls": Loss(cls),
    "pred_diff": Loss(pred_diff, needs_features=True),
    "cam_consistency": Loss(cam_consistency, needs_features=True, waits=True),
    "cls_diff": Loss(cls_diff, needs_denoised=True),
    "rcams_consistency": Loss(rcams_consistency, needs_denoised=True, waits=True),
}
LOSS_NAMES = tuple(LOSSES)


class DiGLoss:
    """Weighted losses of one training step; their sum is minimised.

    Args:
        weights: W, in the order of `LOSSES`; losses added after the published ones may be left out and get weight 0.
        temperature: T of the distillation.
        alpha: weight of the image labels in `pred_diff`; the distillation has weight 1 - alpha.
        start_epoch: first epoch (counted from 0) of the losses with `waits`.
        guided_from: first epoch of all losses that need the denoiser; loss 1 trains alone before it.
    """

    def __init__(
        self,
        weights: Sequence[float] = PUBLISHED_WEIGHTS,
        temperature: float = 5.0,
        alpha: float = 0.2,
        start_epoch: int = 10,
        guided_from: int = 0,
    ):
        if not len(PUBLISHED_WEIGHTS) <= len(weights) <= len(LOSSES):
            raise ValueError(f"{len(LOSSES)} loss weights are needed, got {len(weights)}")
        self.weights = dict.fromkeys(LOSSES, 0.0) | dict(zip(LOSSES, weights, strict=False))
        self.temperature = temperature
        self.alpha = alpha
        self.start_epoch = start_epoch
        self.guided_from = guided_from
        self.has_diffusion_branch = any(loss.needs_features and self.weights[name] for name, loss in LOSSES.items())
        """Whether any loss with a weight needs the diffusion branch, and so the denoiser's features."""

    def counts(self, name: str, epoch: int) -> bool:
        """Whether a loss contributes to the sum in an epoch."""
        loss = LOSSES[name]
        guided = epoch >= self.guided_from or not (loss.needs_features or loss.needs_denoised)
        return self.weights[name] > 0 and guided and (not loss.waits or epoch >= self.start_epoch)

    def uses_features(self, epoch: int) -> bool:
        """Whether the diffusion branch, and so the denoiser's features, are needed in an epoch."""
        return self.has_diffusion_branch and epoch >= self.guided_from

    def uses_denoised(self, epoch: int) -> bool:
        """Whether any loss that counts in an epoch needs the denoised images."""
        return any(loss.needs_denoised and self.counts(name, epoch) for name, loss in LOSSES.items())

    def is_computed(self, name: str, epoch: int) -> bool:
        """Whether a loss is computed in an epoch.

        A classification loss is computed even with weight 0 if its branch runs: the branch's parameters then have gradients
        in every step, which DDP relies on.
        """
        loss = LOSSES[name]
        runs = (self.uses_features(epoch) or not loss.needs_features) and (
            self.uses_denoised(epoch) or not loss.needs_denoised
        )
        return runs and (not loss.waits or self.counts(name, epoch))

    def __call__(self, original: DiGOutput, denoised: DiGOutput | None, labels: Tensor, epoch: int) -> dict[str, Tensor]:
        """Args:
            original: output for the images; the diffusion branch may be missing if no loss uses it (`uses_features`).
            denoised: output for the denoised images; may be None if no loss uses it (`uses_denoised`).
            labels: (B, C) in {0, 1}.
            epoch: counted from 0.

        Returns:
            Weighted losses by name, float32 scalars; zero for a loss that is not computed.
        """
        inputs = LossInputs(labels.float(), original, denoised, self.temperature, self.alpha)
        zero = inputs.labels.new_zeros(())
        return {
            name: self.weights[name] * loss.function(inputs) if self.is_computed(name, epoch) else zero
            for name, loss in LOSSES.items()
        }


def distillation(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """KL divergence of (p, 1 - p), summed over classes and averaged over the batch; p is a softmax over classes.

    Args:
        student, teacher: (B, C) logits; no gradient reaches the teacher.
        temperature: divides the logits.
    """
    log_p, log_q = ((logits.float() / temperature).log_softmax(dim=1) for logits in (student, teacher.detach()))
    return F.kl_div(log_p, log_q, reduction="batchmean", log_target=True) + F.kl_div(
        log_one_minus_exp(log_p), log_one_minus_exp(log_q), reduction="batchmean", log_target=True
    )


def classification(output: DiGOutput, labels: Tensor) -> Tensor:
    """Classification loss of the class tokens plus that of the patch CAM."""
    return multilabel(output.cls_logits, labels) + multilabel(output.patch_logits, labels)


def multilabel(logits: Tensor, labels: Tensor) -> Tensor:
    """Multilabel soft-margin loss (MLSM) of (B, C) logits."""
    return F.multilabel_soft_margin_loss(logits.float(), labels)


def cam_distance(teacher: Tensor, student: Tensor, labels: Tensor) -> Tensor:
    """Mean absolute difference of the normalised CAMs; no gradient reaches the teacher.

    Args:
        teacher, student: (B, C, h, w).
        labels: (B, C) in {0, 1}; classes that are not in the image count with difference 0.
    """
    distance = (normalize_cam(teacher).detach() - normalize_cam(student)).abs()
    return (distance * labels[:, :, None, None]).mean()


def log_one_minus_exp(log_p: Tensor) -> Tensor:
    """log(1 - p) from log p; finite even if p rounds to 1."""
    return torch.log((-torch.expm1(log_p)).clamp_min(torch.finfo(log_p.dtype).tiny))
