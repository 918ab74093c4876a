"""The losses of DiG: a table of names, functions and what they need."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .cam import normalize_cam
from .dig import DiGOutput

PUBLISHED_WEIGHTS = (1.0, 1.0, 1.0, 1.0, 10.0)
"""W of the paper, for the first rows of `LOSSES`."""


class LossInputs(NamedTuple):
    """What losses are computed from; B images, C classes."""

    labels: Tensor  # (B, C) float32 in {0, 1}
    original: DiGOutput  # for the images
    denoised: DiGOutput | None  # for the denoised images, where a loss needs it
    temperature: float  # T of the distillation
    alpha: float  # A, share of the image labels in `pred_diff`


def cls(inputs: LossInputs) -> Tensor:
    """Loss 1: image-level classification."""
    return classification(inputs.original, inputs.labels)


def pred_diff(inputs: LossInputs) -> Tensor:
    """Loss 2: the diffusion branch learns from the labels and from the transformer's softened predictions."""
    labels, output, T = inputs.labels, inputs.original, inputs.temperature
    supervised = multilabel(output.diffusion_cls_logits, labels) + multilabel(output.diffusion_patch_logits, labels)
    distilled = distillation(output.diffusion_cls_logits, output.cls_logits, T) + distillation(
        output.diffusion_patch_logits, output.patch_logits, T
    )
    return inputs.alpha * supervised + (1 - inputs.alpha) * T**2 * distilled / 2


def cam_consistency(inputs: LossInputs) -> Tensor:
    """Loss 3: the patch CAM follows the diffusion branch's."""
    return cam_distance(inputs.original.diffusion_cam, inputs.original.patch_cam, inputs.labels)


def cls_diff(inputs: LossInputs) -> Tensor:
    """Loss 4: image-level classification of the denoised images."""
    return classification(inputs.denoised, inputs.labels)


def rcams_consistency(inputs: LossInputs) -> Tensor:
    """Loss 5: the refined CAMs of the denoised images follow those of the images."""
    return cam_distance(inputs.original.refined_cam, inputs.denoised.refined_cam, inputs.labels)


class Loss(NamedTuple):
    """A row of the table."""

    function: Callable[[LossInputs], Tensor]
    needs_features: bool = False  # the diffusion branch, and so the denoiser's features
    needs_denoised: bool = False  # a pass of the denoised images
    waits: bool = False  # counts from `start_epoch` on


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
        weights: W, in the order of `LOSSES`; rows behind the published ones that are left out weigh nothing.
        temperature: T of the distillation.
        alpha: share of the image labels in `pred_diff`; the rest is distilled from the transformer.
        start_epoch: first epoch (counted from 0) in which losses that wait count.
    """

    def __init__(
        self,
        weights: Sequence[float] = PUBLISHED_WEIGHTS,
        temperature: float = 5.0,
        alpha: float = 0.2,
        start_epoch: int = 10,
    ):
        if not len(PUBLISHED_WEIGHTS) <= len(weights) <= len(LOSSES):
            raise ValueError(f"{len(LOSSES)} loss weights are needed, got {len(weights)}")
        self.weights = dict.fromkeys(LOSSES, 0.0) | dict(zip(LOSSES, weights, strict=False))
        self.temperature = temperature
        self.alpha = alpha
        self.start_epoch = start_epoch
        self.uses_features = any(loss.needs_features and self.weights[name] for name, loss in LOSSES.items())
        """Whether the diffusion branch, and so the denoiser's features, matter to any loss."""

    def counts(self, name: str, epoch: int) -> bool:
        """Whether a loss has weight in an epoch."""
        return self.weights[name] > 0 and (not LOSSES[name].waits or epoch >= self.start_epoch)

    def uses_denoised(self, epoch: int) -> bool:
        """Whether the denoised images matter to any loss of an epoch."""
        return any(loss.needs_denoised and self.counts(name, epoch) for name, loss in LOSSES.items())

    def is_computed(self, name: str, epoch: int) -> bool:
        """Whether a loss is computed in an epoch.

        Classification losses are, even with weight 0, where their branch runs at all: its parameters then have gradients in
        every step, which DDP relies on.
        """
        loss = LOSSES[name]
        runs = (self.uses_features or not loss.needs_features) and (self.uses_denoised(epoch) or not loss.needs_denoised)
        return runs and (not loss.waits or self.counts(name, epoch))

    def __call__(self, original: DiGOutput, denoised: DiGOutput | None, labels: Tensor, epoch: int) -> dict[str, Tensor]:
        """Args:
            original: result for the images, with the diffusion branch unless no loss uses it (`uses_features`).
            denoised: result for the denoised images; may be None where no loss uses it (`uses_denoised`).
            labels: (B, C) in {0, 1}.
            epoch: counted from 0.

        Returns:
            The losses by name, float32 scalars, weights applied; zero where a loss is switched off.
        """
        inputs = LossInputs(labels.float(), original, denoised, self.temperature, self.alpha)
        zero = inputs.labels.new_zeros(())
        return {
            name: self.weights[name] * loss.function(inputs) if self.is_computed(name, epoch) else zero
            for name, loss in LOSSES.items()
        }


def distillation(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """KL divergence of (p, 1 - p) summed over classes, mean over the batch; p is a softmax over classes.

    Args:
        student, teacher: (B, C) logits; no gradient reaches the teacher.
        temperature: that logits are divided by.
    """
    log_p, log_q = ((logits.float() / temperature).log_softmax(dim=1) for logits in (student, teacher.detach()))
    return F.kl_div(log_p, log_q, reduction="batchmean", log_target=True) + F.kl_div(
        log_one_minus_exp(log_p), log_one_minus_exp(log_q), reduction="batchmean", log_target=True
    )


def classification(output: DiGOutput, labels: Tensor) -> Tensor:
    """Image-level classification by class tokens and by the patch CAM."""
    return multilabel(output.cls_logits, labels) + multilabel(output.patch_logits, labels)


def multilabel(logits: Tensor, labels: Tensor) -> Tensor:
    """Multilabel soft-margin loss (MLSM) of (B, C) logits."""
    return F.multilabel_soft_margin_loss(logits.float(), labels)


def cam_distance(teacher: Tensor, student: Tensor, labels: Tensor) -> Tensor:
    """Mean distance of the normalised maps of the classes in the image; no gradient reaches the teacher.

    Args:
        teacher, student: (B, C, h, w).
        labels: (B, C) in {0, 1}; maps of other classes count as equal.
    """
    distance = (normalize_cam(teacher).detach() - normalize_cam(student)).abs()
    return (distance * labels[:, :, None, None]).mean()


def log_one_minus_exp(log_p: Tensor) -> Tensor:
    """log(1 - p) from log p, finite also where p rounds to 1."""
    return torch.log((-torch.expm1(log_p)).clamp_min(torch.finfo(log_p.dtype).tiny))
