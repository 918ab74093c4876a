"""The five losses of DiG."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from .cam import normalize_cam
from .dig import DiGOutput

LOSS_NAMES = ("cls", "pred_diff", "cam_consistency", "cls_diff", "rcams_consistency")


class DiGLoss:
    """Weighted losses of one training step; their sum is minimised.

    Args:
        weights: W, one weight for each of `LOSS_NAMES`.
        temperature: T of the distillation.
        alpha: share of the image labels in `pred_diff`; the rest is distilled from the transformer.
        start_epoch: first epoch (counted from 0) in which the two CAM consistencies count.
    """

    def __init__(
        self,
        weights: Sequence[float] = (1, 1, 1, 1, 10),
        temperature: float = 5.0,
        alpha: float = 0.2,
        start_epoch: int = 10,
    ):
        if len(weights) != len(LOSS_NAMES):
            raise ValueError(f"{len(LOSS_NAMES)} loss weights are needed, got {len(weights)}")
        self.weights = tuple(weights)
        self.uses_features = any(self.weights[1:3])
        """Whether the diffusion branch, and so the denoiser's features, matter to any loss."""
        self.temperature = temperature
        self.alpha = alpha
        self.start_epoch = start_epoch

    def uses_denoised(self, epoch: int) -> bool:
        """Whether the denoised images matter to any loss of an epoch."""
        return self.weights[3] > 0 or (self.weights[4] > 0 and epoch >= self.start_epoch)

    def __call__(self, original: DiGOutput, denoised: DiGOutput | None, labels: Tensor, epoch: int) -> dict[str, Tensor]:
        """Args:
            original: result for the images, with the diffusion branch unless no loss uses it (`uses_features`).
            denoised: result for the denoised images; may be None where no loss uses it (`uses_denoised`).
            labels: (B, C) in {0, 1}.
            epoch: counted from 0.

        Returns:
            The five losses by name, float32 scalars, weights applied; zero where a loss is switched off.
        """
        labels = labels.float()
        consistent = epoch >= self.start_epoch
        losses = dict.fromkeys(LOSS_NAMES, labels.new_zeros(()))
        cls, pred_diff, cam_consistency, cls_diff, rcams_consistency = self.weights
        losses["cls"] = cls * classification(original, labels)
        if self.uses_features:
            losses["pred_diff"] = pred_diff * self.prediction(original, labels)
        if cam_consistency and consistent:
            distance = cam_distance(original.diffusion_cam, original.patch_cam, labels)
            losses["cam_consistency"] = cam_consistency * distance
        if self.uses_denoised(epoch):
            losses["cls_diff"] = cls_diff * classification(denoised, labels)
        if rcams_consistency and consistent:
            distance = cam_distance(original.refined_cam, denoised.refined_cam, labels)
            losses["rcams_consistency"] = rcams_consistency * distance
        return losses

    def prediction(self, original: DiGOutput, labels: Tensor) -> Tensor:
        """The diffusion branch learns from the labels and from the transformer's softened predictions."""
        supervised = multilabel(original.diffusion_cls_logits, labels) + multilabel(original.diffusion_patch_logits, labels)
        distilled = self.distillation(original.diffusion_cls_logits, original.cls_logits) + self.distillation(
            original.diffusion_patch_logits, original.patch_logits
        )
        return self.alpha * supervised + (1 - self.alpha) * self.temperature**2 * distilled / 2

    def distillation(self, student: Tensor, teacher: Tensor) -> Tensor:
        """KL divergence of (p, 1 - p) summed over classes, mean over the batch; p is a softmax over classes.

        Args:
            student, teacher: (B, C) logits; no gradient reaches the teacher.
        """
        log_p, log_q = ((logits.float() / self.temperature).log_softmax(dim=1) for logits in (student, teacher.detach()))
        return sum(
            F.kl_div(ours, theirs, reduction="batchmean", log_target=True)
            for ours, theirs in ((log_p, log_q), (log_one_minus_exp(log_p), log_one_minus_exp(log_q)))
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
