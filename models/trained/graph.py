"""Networks in a form that exporters can record: from an image of any size to CAMs and logits."""

import copy
from collections.abc import Callable, Sequence
from types import MethodType

import torch
import torch.nn.functional as F
from timm.layers import Conv2dSame
from torch import Tensor, nn

from ..attention import attention_of
from ..backbones import is_deit
from ..dig import DiG
from ..segmentation import SegmentationNet
from ..stem import ConvStem, stages_of
from ..vit import MultiClassTokenViT

ALL_ROWS = 2**31
"""Queries of attention at a time: all of them, as a graph has no loop whose length depends on the image."""


class CamGraph(nn.Module):
    """A CAM network whose operations can be recorded for all image sizes.

    Args:
        net: the network, of which this takes a copy.
    """

    outputs: tuple[str, ...] = ("cams", "logits")
    mean: Tensor  # (3, 1, 1)
    std: Tensor

    def __init__(self, net: DiG):
        super().__init__()
        self.net = traceable(net)
        self.unit = net.patch_size
        register_statistics(self, net.mean, net.std)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Images (1, 3, H, W) in [0, 1], sides multiples of `unit`.

        Returns:
            CAMs at patch resolution (1, C, H / unit, W / unit), not normalised, and logits (1, C), whose sigmoid is the
            probability of each class to be in the image. Both are of the image alone, without its mirror.
        """
        found = self.net((image - self.mean) / self.std)
        return self.net.final_cam(found), (found.cls_logits + found.patch_logits) / 2


class SegGraph(nn.Module):
    """A segmentation network whose operations can be recorded for all image sizes.

    Args:
        net: the network, of which this takes a copy.
    """

    outputs: tuple[str, ...] = ("logits",)
    mean: Tensor  # (3, 1, 1)
    std: Tensor

    def __init__(self, net: SegmentationNet):
        super().__init__()
        self.model = copy.deepcopy(net.model).eval().to(memory_format=torch.contiguous_format)
        fix_padding(self.model)
        self.unit = net.stride
        register_statistics(self, net.mean, net.std)

    def forward(self, image: Tensor) -> Tensor:
        """Images (1, 3, H, W) in [0, 1], sides multiples of `unit` -> logits (1, C + 1, h, w), background first."""
        return self.model((image - self.mean) / self.std)


def register_statistics(module: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
    """Gives a module the buffers `mean` and `std`, (3, 1, 1)."""
    for name, values in (("mean", mean), ("std", std)):
        module.register_buffer(name, torch.tensor(values)[:, None, None])


def traceable(net: DiG) -> DiG:
    """A copy of a network that computes the same without branches and loops that depend on the image's size."""
    net = copy.deepcopy(net).eval()
    replace_method(net, position_embedding)
    replace_method(net, rotations)
    for block in net.blocks:
        attention_of(block).query_rows = ALL_ROWS
    if net.stem is not None:
        replace_method(net.stem, stem_tokens, "forward")
        fix_padding(net.stem)
    return net


def replace_method(module: nn.Module, function: Callable, name: str = "") -> None:
    """Gives one module another method: under the function's name, or under `name`."""
    setattr(module, name or function.__name__, MethodType(function, module))


def fix_padding(net: nn.Module) -> None:
    """Gives TensorFlow's "same" convolutions a fixed padding, which is right if strides divide the sides of their inputs.

    timm computes each padding from the input's size; recorded, it would be a formula that contains those of all layers
    before it.
    """
    for module in net.modules():
        if isinstance(module, Conv2dSame):
            replace_method(module, padded_convolution, "forward")


def padded_convolution(conv: Conv2dSame, x: Tensor) -> Tensor:
    """`Conv2dSame.forward` of an input (B, C, H, W) whose sides are multiples of the stride."""
    sizes = zip(conv.kernel_size, conv.stride, conv.dilation, strict=True)
    rows, columns = (max((kernel - 1) * dilation + 1 - stride, 0) for kernel, stride, dilation in sizes)
    x = F.pad(x, (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2))
    return F.conv2d(x, conv.weight, conv.bias, conv.stride, 0, conv.dilation, conv.groups)


def position_embedding(net: MultiClassTokenViT, h: int, w: int) -> Tensor | None:
    """`MultiClassTokenViT.position_embedding` as two products of matrices."""
    positions, g, P = net.pos_embed, net.grid_size, net.num_positions_before_patches
    if positions is None:
        return None
    if is_deit(net.backbone):
        # At the size of the training images, positions are neither resized nor shifted. The sizes are compared as tensors,
        # because a branch on numbers would be recorded for one size only.
        counts = [positions.new_ones(n).sum() for n in (h, w)]
        same = (counts[0] == g) & (counts[1] == g)
        rows, columns = (
            bicubic(g, n, torch.where(same, 1.0, g / (count + 0.1)), positions)
            for n, count in zip((h, w), counts, strict=True)
        )
    else:
        rows, columns = (antialiased_bicubic(g, n, g / n, positions) for n in (h, w))
    patches = torch.einsum("ha,abd,wb->hwd", rows, positions[0, P:].unflatten(0, (g, g)), columns)
    return torch.cat((positions[:, :P], patches.flatten(0, 1)[None]), dim=1)


def bicubic(old: int, new: int, step: float | Tensor, like: Tensor) -> Tensor:
    """(new, old) weights of `F.interpolate(mode="bicubic")` along one axis.

    Args:
        old, new: number of samples.
        step: distance of the new samples, in old ones.
        like: a tensor with the type and device of the weights.
    """
    position = (torch.arange(new, dtype=like.dtype, device=like.device) + 0.5) * step - 0.5
    first = position.floor()
    samples = torch.arange(old, dtype=like.dtype, device=like.device)
    weights = torch.zeros_like(position)[:, None] * samples
    for offset in (-1, 0, 1, 2):  # beyond the border, the outermost sample counts
        share = cubic(position - first - offset, -0.75)
        neighbour = (first + offset).clamp(0, old - 1)
        weights = weights + share[:, None] * (neighbour[:, None] == samples).to(like.dtype)
    return weights


def antialiased_bicubic(old: int, new: int, step: float, like: Tensor) -> Tensor:
    """(new, old) weights of `F.interpolate(mode="bicubic", antialias=True)`; arguments as in `bicubic`."""
    position = (torch.arange(new, dtype=like.dtype, device=like.device) + 0.5) * step - 0.5
    samples = torch.arange(old, dtype=like.dtype, device=like.device)
    width = torch.full_like(position, 1.0) * step
    weights = cubic((samples - position[:, None]) / width.clamp_min(1)[:, None], -0.5)
    return weights / weights.sum(1, keepdim=True)


def cubic(x: Tensor, a: float) -> Tensor:
    """The kernel of cubic convolution at distances `x`; zero from 2 on."""
    x = x.abs()
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((x - 5) * x + 8) * x * a - 4 * a
    return torch.where(x <= 1, near, torch.where(x < 2, far, torch.zeros_like(x)))


def rotations(net: MultiClassTokenViT, h: int, w: int) -> list[Tensor | None]:
    """`MultiClassTokenViT.rotations` without its cache."""
    depth = len(net.blocks)
    if net.rope is None:
        return [None] * depth
    found = net.rope.get_embed(shape=[h, w])
    return list(found) if next(net.rope.parameters(), None) is not None else [found] * depth


def stem_tokens(stem: ConvStem, image: Tensor) -> Tensor:
    """`ConvStem.forward` of an image whose sides are multiples of the patch."""
    maps = stem.trunk(image)
    strides = stages_of(stem.trunk).reduction()
    even = [m if s == strides[-1] else F.avg_pool2d(m, strides[-1] // s) for m, s in zip(maps, strides, strict=True)]
    return stem.proj((torch.cat(even, dim=1) - stem.center) / stem.spread)
