"""Segmentation networks: architectures and encoders of segmentation-models-pytorch, for images in [0, 1]."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from utils.errors import InputError
from utils.machine.distributed import world_size
from utils.options.segmentation import MaskOptions
from utils.training.checkpoint import load_file, load_strictly, state_dict_of

from .stem import load_trunk, packaged_file
from .synced_norm import sync_batch_norm
from .weights import IMAGENET_MEAN, IMAGENET_STD, standardize

SEG_WEIGHTS_HINT = "Train with train_seg.py first, or name a file with --weights"
STRIDE = 32
"""Image sides are padded to multiples of this, or, for a transformer, of two of its patches."""
TIMM = "tu-"
"""How segmentation-models-pytorch marks encoders of timm."""


class SegmentationNet(nn.Module):
    """A network that gives every pixel a score for the background and for each class.

    Args:
        model: encoder, decoder and head.
        mean, std: channel statistics that the encoder was pretrained with.
        freeze_bn: whether the encoder keeps its batch statistics in training.
    """

    def __init__(self, model: nn.Module, mean: tuple[float, ...], std: tuple[float, ...], freeze_bn: bool = False):
        super().__init__()
        self.model = model.to(memory_format=torch.channels_last)
        self.mean, self.std = mean, std
        self.freeze_bn = freeze_bn
        # The coarsest map of a transformer has half the grid of its patches.
        patches = getattr(self.encoder, "output_strides", None)
        self.stride = 2 * max(patches) if patches else STRIDE

    def train(self, mode: bool = True) -> "SegmentationNet":
        """Sets the mode; with `freeze_bn`, the encoder's batch norms stay in evaluation mode."""
        super().train(mode)
        if self.freeze_bn:
            for module in self.encoder.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
        return self

    def forward(self, image01: Tensor) -> Tensor:
        """Images (B, 3, H, W) in [0, 1] -> logits (B, C + 1, H, W), background first; coarser if the model is."""
        height, width = image01.shape[-2:]
        image = standardize(image01, self.mean, self.std)
        # Padded after standardisation, so that zeros are the mean colour.
        right, below = -width % self.stride, -height % self.stride
        image = F.pad(image, (0, right, 0, below)).contiguous(memory_format=torch.channels_last)
        found = self.model(image)
        step = image.shape[-1] // found.shape[-1]
        return found[..., : -(-height // step), : -(-width // step)]

    def compile_model(self) -> None:
        """Compiles encoder, decoder and head, at the next pass."""
        self.model.compile()

    @property
    def encoder(self) -> nn.Module:
        """The model's encoder."""
        return self.model.get_submodule("encoder")

    @property
    def encoder_parameters(self) -> set[int]:
        """Which parameters are the encoder's, by identity."""
        return {id(parameter) for parameter in self.encoder.parameters()}


def build_segmenter(
    channels: int,
    *,
    arch: str,
    encoder: str,
    arch_options: Mapping[str, Any],
    freeze_bn: bool = False,
    encoder_weights: str = "none",
) -> tuple[SegmentationNet, str]:
    """A segmentation network.

    Args:
        channels: number of output channels: C + 1 with the background, or the width of an embedding.
        arch: architecture of segmentation-models-pytorch.
        encoder: `tu-` and a name of timm, or a name of segmentation-models-pytorch.
        arch_options: arguments of the architecture's constructor.
        freeze_bn: whether the encoder keeps its batch statistics in training.
        encoder_weights: auto, timm, none or a file; see `models.stem.load_stem`.

    Returns:
        The network, and where the weights of its encoder came from.

    Raises:
        InputError: there is no such architecture or encoder, they do not fit together, or the weights are not available.
    """
    import segmentation_models_pytorch as smp  # takes a second, which all other commands do without

    known = smp.MODEL_ARCHITECTURES_MAPPING
    if arch not in known:
        raise InputError(f"--arch {arch} is none of segmentation-models-pytorch: it has {', '.join(known)}")
    name = encoder.removeprefix(TIMM)
    own = encoder != name  # of timm
    if encoder_weights == "auto":
        encoder_weights = str(packaged_file(name) or "timm") if own else "timm"
    if encoder_weights not in ("timm", "none") and not own:
        raise InputError(f"--encoder-weights {encoder_weights} goes with an encoder of timm, {TIMM}NAME, not with {encoder}")
    pretrained = (True if own else "imagenet") if encoder_weights == "timm" else None
    # smp and timm raise many kinds of exceptions for options that do not fit, and for failed downloads.
    try:
        model = smp.create_model(arch, encoder, encoder_weights=pretrained, classes=channels, **arch_options)
    except Exception as error:
        raise InputError(
            f"--arch {arch} with --encoder {encoder} cannot be built: {' '.join(str(error).split())}"
        ) from error
    if pretrained is None:
        encoder_weights = load_trunk(model.encoder.model, name, encoder_weights) if own else "random"
    config = timm.get_pretrained_cfg(name) if own else None
    mean, std = (tuple(config.mean), tuple(config.std)) if config else (IMAGENET_MEAN, IMAGENET_STD)
    net = SegmentationNet(model, mean, std, freeze_bn)
    if world_size() > 1:
        sync_batch_norm(net)
    return net, encoder_weights


def load_segmenter(path: Path, channels: int, run: MaskOptions) -> SegmentationNet:
    """The network of a run with the weights in a file.

    Raises:
        InputError: they are missing, damaged or do not fit.
    """
    net, _ = build_segmenter(channels, **run.architecture)
    load_strictly(net, state_dict_of(load_file(path, SEG_WEIGHTS_HINT), path), path)
    return net
