"""DiG: a multi-class-token ViT with a patch CAM, and a diffusion branch that fuses a denoiser's features through LFCA."""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .cam import normalize_cam
from .lfca import LFCA
from .vit import MultiClassTokenViT
from .weights import standardize

MAPS_AT_ONCE = 2**24
"""Full-size CAM pixels, over all classes, that are computed at a time."""
CAM_KINDS = ("refined", "spread")
LFCA_PREFIXES = ("LFCA0.", "LFCA1.", "diff_head_p.")
"""Name prefixes of the parameters that only training needs."""


class DiGOutput(NamedTuple):
    """Result of one forward pass. The patch grid is h x w, N = h * w; the denoiser's feature grid is h' x w'."""

    cls_logits: Tensor  # (B, C) from the class tokens
    patch_logits: Tensor  # (B, C) from the patch CAM
    patch_cam: Tensor  # (B, C, h, w) after relu
    class_attention: Tensor  # (B, C, h, w) class token to patch, summed over blocks
    patch_attention: Tensor  # (B, N, N) patch to patch, summed over blocks
    refined_cam: Tensor  # (B, C, h, w)
    diffusion_cam: Tensor | None = None  # (B, C, h', w') after relu
    diffusion_cls_logits: Tensor | None = None  # (B, C)
    diffusion_patch_logits: Tensor | None = None  # (B, C)


class Prediction(NamedTuple):
    """CAMs and class probabilities of B images, each from the image and its mirror."""

    maps: tuple[Tensor, ...]  # for each scale (B, C, h, w) float32: CAMs of image and mirror, summed; see `DiG`'s `cam`
    probabilities: Tensor  # (B, C) float32 in [0, 1], of each class to be in the image

    def cams(self, index: int, labels: Tensor, size: tuple[int, int]) -> Tensor:
        """Class activation maps of one of the images.

        Args:
            index: position of the image in the batch.
            labels: (K,) indices of the classes.
            size: height and width of the maps in pixels.

        Returns:
            (K, height, width) float32 in [0, 1).
        """
        # A few classes at a time: for a photograph of 12 megapixels, all at once would take gigabytes.
        parts = labels.split(max(1, MAPS_AT_ONCE // (size[0] * size[1])))
        if len(parts) < 2:
            return self.cams_at_once(index, labels, size)
        cams = self.maps[0].new_empty((len(labels), *size))
        for part, some in zip(cams.split(len(parts[0])), parts, strict=True):
            part.copy_(self.cams_at_once(index, some, size))
        return cams

    def cams_at_once(self, index: int, labels: Tensor, size: tuple[int, int]) -> Tensor:
        """`cams` for all labels in one go."""
        # Upsampling is linear, so image and mirror were summed on the patch grid; scales differ in grid and are summed here.
        maps = (maps[index, labels, None] for maps in self.maps)  # (K, 1, h, w); K may be 0
        full = (F.interpolate(m, size, mode="bilinear") for m in maps)
        return normalize_cam(functools.reduce(torch.add, full)[:, 0])


def spread(cam: Tensor, patch_attention: Tensor) -> Tensor:
    """Maps (B, C, h, w) after each patch has gathered from all patches by its attention to them (B, h * w, h * w)."""
    return (cam.flatten(2) @ patch_attention.transpose(1, 2)).unflatten(2, cam.shape[-2:])


def topk_pool(cam: Tensor, k: int = 3) -> Tensor:
    """Image-level logits of a signed activation map (B, C, h, w): (B, C).

    The mean of the k largest positive parts minus the mean of the k largest negative parts.
    """
    cam = cam.flatten(2)
    k = min(k, cam.shape[-1])
    return F.relu(cam).topk(k).values.mean(-1) - F.relu(-cam).topk(k).values.mean(-1)


class DiG(MultiClassTokenViT):
    """The network that DiG trains. Parameter names are those of the published checkpoints.

    Args:
        num_classes: C.
        lfca: build the two LFCA modules and their head, which inference does not need.
        feature_steps: number of diffusion steps whose features are concatenated.
        feature_channels: channels of the denoiser's features at one step, K.
        lfca_drop_path: stochastic-depth rate of LFCA's patch residuals; the transformer has its own, `drop_path`.
        cam: maps that `predict` returns. "refined", as published: patch CAMs times class attention, spread by patch
            attention; "spread": the same without class attention.
        spreads: how often patch attention spreads these maps, at least 1.
        **vit_options: see `MultiClassTokenViT`.
    """

    LFCA0: LFCA  # for the queries of the last block
    LFCA1: LFCA  # for those of the one before it

    def __init__(
        self,
        num_classes: int = 20,
        lfca: bool = True,
        feature_steps: int = 5,
        feature_channels: int = 1024,
        lfca_drop_path: float = 0.1,
        cam: str = "refined",
        spreads: int = 1,
        **vit_options: Any,
    ):
        super().__init__(num_classes, **vit_options)
        if cam not in CAM_KINDS:
            raise ValueError(f"cam must be one of {', '.join(CAM_KINDS)}, got {cam!r}")
        self.cam_kind, self.spreads = cam, spreads
        self.head = nn.Conv2d(self.embed_dim, num_classes, 3, padding=1)
        self.has_lfca = lfca
        if lfca:
            K = feature_channels
            for name in ("LFCA0", "LFCA1"):
                self.add_module(name, LFCA(num_classes, self.embed_dim, feature_steps * K, K, drop_path=lfca_drop_path))
            self.diff_head_p = nn.Sequential(nn.Conv2d(K, K, 3, padding=1), nn.ReLU(), nn.Conv2d(K, num_classes, 1))

    def forward(self, image: Tensor, denoiser_features: Tensor | None = None) -> DiGOutput:
        """Args:
        image: (B, 3, H, W), normalised as the network expects (`normalize`).
        denoiser_features: (B, F, h', w') from `diffusion.Guidance`; None leaves the diffusion branch out.
        """
        C = self.num_classes
        tokens = self.forward_tokens(image)
        h, w = tokens.patch_tokens.shape[-2:]

        cam = self.head(tokens.patch_tokens)  # (B, C, h, w)
        patch_cam = F.relu(cam)
        class_attention = tokens.attention[:, :C].unflatten(2, (h, w))  # (B, C, h, w)
        patch_attention = tokens.attention[:, C:]  # (B, N, N)
        refined_cam = spread(class_attention * patch_cam, patch_attention)

        output = DiGOutput(
            cls_logits=tokens.class_tokens.mean(-1),
            patch_logits=topk_pool(cam),
            patch_cam=patch_cam,
            class_attention=class_attention,
            patch_attention=patch_attention,
            refined_cam=refined_cam,
        )
        if denoiser_features is None:
            return output
        return output._replace(**self.diffusion_branch(tokens.queries, (h, w), denoiser_features))

    def normalize(self, image01: Tensor) -> Tensor:
        """Standardises (..., 3, H, W) in [0, 1] with the channel statistics of the pretrained backbone, or of its stem."""
        return standardize(image01, self.mean, self.std)

    def diffusion_branch(self, queries: tuple[Tensor, Tensor], grid: tuple[int, int], features: Tensor) -> dict[str, Tensor]:
        """Runs the diffusion branch. The queries are detached, so that its losses do not train the transformer."""
        if not self.has_lfca:
            raise ValueError("this network was built without LFCA and cannot take denoiser features")
        last, before_last = queries
        cls_0, patches_0 = self.run(self.LFCA0, last.detach(), grid, features)
        cls_1, patches_1 = self.run(self.LFCA1, before_last.detach(), grid, features)
        cam = self.diff_head_p((patches_0 + patches_1) / 2)  # (B, C, h', w')
        return {
            "diffusion_cam": F.relu(cam),
            "diffusion_cls_logits": ((cls_0 + cls_1) / 2).mean(-1),
            "diffusion_patch_logits": topk_pool(cam),
        }

    def cam(self, image01: Tensor, labels: Tensor, size: tuple[int, int]) -> Tensor:
        """The class activation maps of one image (3, H, W) in [0, 1]; see `Prediction.cams`."""
        return self.predict([image01[None]]).cams(0, labels, size)

    def final_cam(self, output: DiGOutput) -> Tensor:
        """The maps that inference takes (B, C, h, w): those of `cam`, spread `spreads` times."""
        refined = self.cam_kind == "refined"
        cam = output.refined_cam if refined else output.patch_cam
        for _ in range(self.spreads - refined):  # the refined CAM has been spread once
            cam = spread(cam, output.patch_attention)
        return cam

    @torch.no_grad()
    def predict(self, scales: Sequence[Tensor]) -> Prediction:
        """CAMs and probabilities of all classes in a batch of images.

        A probability is the sigmoid of the mean logit over class tokens and patch CAM, image and mirror, and all scales.

        Args:
            scales: the same B images in [0, 1], (B, 3, H, W) for each scale.
        """
        maps, logits = [], []
        for image01 in scales:
            image = self.normalize(image01)
            output = self(torch.cat((image, image.flip(-1))))
            straight, mirrored = self.final_cam(output).float().chunk(2)  # (B, C, h, w) each
            maps.append(straight + mirrored.flip(-1))
            logits += (output.cls_logits.float() + output.patch_logits.float()).chunk(2)  # (B, C) each
        return Prediction(tuple(maps), (torch.stack(logits).mean(0) / 2).sigmoid())


def build_dig(num_classes: int = 20, **options: Any) -> DiG:
    """Builds the network (see `DiG`); without options the published one on DeiT-S, with 213.7 M parameters."""
    return DiG(num_classes, **options)
