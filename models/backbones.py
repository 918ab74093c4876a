"""Transformers of timm that can have one token per class. A new family is one more entry of `FAMILIES`."""

import functools
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

import timm
import torch
from timm.data import resolve_model_data_config
from timm.layers import Format, PatchEmbed
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from utils.errors import InputError, did_you_mean

from .attention import TimmAttention

Transformer = VisionTransformer | Eva
"""Kinds of timm's models that can have one token per class; see `plain`."""
DEIT_SMALL = "deit_small_patch16_224"
WHAT_WORKS = (
    f"plain vision transformers work, such as {DEIT_SMALL}, vit_small_patch14_dinov2 and vit_small_patch16_dinov3; "
    "python -m tools.backbones lists them all"
)
OWN_OPTIONS = ("img_size", "num_classes", "dynamic_img_size", "drop_path_rate", "in_chans", "global_pool")
"""Options of timm's models that the network sets itself."""


@dataclass(frozen=True)
class Family:
    """Transformers with the same kind of pretraining. Tests compare a small one of each family with timm's own."""

    name: str
    pattern: str  # regular expression that matches the start of timm's names
    example: str  # one of these names


DEIT = Family("DeiT", r"deit_(tiny|small|base)_patch16_(224|384)\b", DEIT_SMALL)
FAMILIES = (
    DEIT,
    Family("DeiT-III", r"deit3_", "deit3_small_patch16_224"),
    Family("MAE", r"vit_(base|large|huge)_patch1[46]_224\.mae", "vit_base_patch16_224.mae"),
    Family("DINO", r"vit_(small|base)_patch(8|16)_224\.dino", "vit_small_patch16_224.dino"),
    Family("AugReg", r"vit_(tiny|small|base|large)_patch(8|16|32)_(224|384)\b", "vit_small_patch16_224"),
    Family("CLIP", r"vit_\w*_clip_(quickgelu_)?\d+", "vit_base_patch16_clip_quickgelu_224"),
    Family("SigLIP", r"vit_\w*_siglip_", "vit_base_patch16_siglip_224"),
    Family("DINOv2", r"vit_\w+_patch14_dinov2", "vit_small_patch14_dinov2"),
    Family("DINOv2, registers", r"vit_\w+_patch14_reg4_dinov2", "vit_small_patch14_reg4_dinov2"),
    Family("DINOv3", r"vit_\w+_patch16_dinov3", "vit_small_patch16_dinov3"),
    Family("EVA-02", r"eva02_(tiny|small|base|large)_", "eva02_small_patch14_224"),
    Family("RoPE-ViT", r"vit_\w+_rope_", "vit_small_patch16_rope_mixed_224"),
)


def family_of(name: str) -> Family | None:
    """The family of a model by timm's name; None if it is in none of `FAMILIES`."""
    return next((family for family in FAMILIES if re.match(family.pattern, name)), None)


def is_deit(backbone: str) -> bool:
    """Whether positions are interpolated as the paper's code does it."""
    return not backbone or family_of(backbone) is DEIT


def build_deit(
    image_size: int, patch_size: int, embed_dim: int, depth: int, num_heads: int, mlp_ratio: float
) -> Transformer:
    """timm's DeiT of any size; its weights are not initialised yet.

    Raises:
        ValueError: the numbers do not fit together.
    """
    if image_size % patch_size:
        raise ValueError(f"image size {image_size} is not a multiple of the patch size {patch_size}")
    if embed_dim % num_heads:
        raise ValueError(f"embedding width {embed_dim} is not a multiple of the number of heads {num_heads}")
    if depth < 2:
        raise ValueError(f"depth must be at least 2, got {depth}")
    sizes = {"patch_size": patch_size, "embed_dim": embed_dim, "depth": depth, "num_heads": num_heads}
    return plain(create(DEIT_SMALL, img_size=image_size, mlp_ratio=mlp_ratio, weight_init="skip", **sizes))


def build_backbone(name: str, image_size: int, options: Mapping[str, Any]) -> Transformer:
    """A transformer of timm by name, with random weights and without a classifier.

    Args:
        name: timm's name, with or without the tag of its weights.
        image_size: side of a square training image in pixels.
        options: further arguments of its constructor.

    Raises:
        InputError: timm has no such model, it is of an unsupported kind, or a number does not fit.
    """
    require_usable(name)
    if clash := sorted(set(options) & set(OWN_OPTIONS)):
        raise InputError(f"--backbone-options {clash[0]} cannot be chosen: the network sets it itself")
    try:
        model = create(name, img_size=image_size, **options)
    # timm's constructors raise many kinds of exceptions for wrong arguments.
    except Exception as error:
        raise InputError(f"--backbone {name} cannot be built with {options or 'its own sizes'}: {error!r}") from error
    vit = plain_backbone(name, model)
    if vit.embed_dim % 8:
        raise InputError(f"--backbone {name} has tokens of width {vit.embed_dim}, which must be a multiple of 8")
    patch_size = patch_side(vit)
    if image_size % patch_size:
        unit = math.lcm(8, patch_size)
        raise InputError(
            f"--input-size {image_size} must be a multiple of {patch_size}, the patch of --backbone {name}; "
            f"{max(1, round(image_size / unit)) * unit} would do"
        )
    return vit


def create(name: str, **options: Any) -> nn.Module:
    """timm's model without a classifier, for images of any size; its patch embedding returns (B, D, h, w)."""
    model = timm.create_model(name, num_classes=0, dynamic_img_size=True, **options)
    patch_embed = getattr(model, "patch_embed", None)
    if isinstance(patch_embed, PatchEmbed):
        patch_embed.output_fmt = Format.NCHW
        patch_embed.img_size = None
    return model


@functools.cache
def require_usable(name: str) -> None:
    """Checks a backbone's name before anything large is built.

    Raises:
        InputError: timm has no such model, or it cannot have one token per class.
    """
    if not timm.is_model(name):
        raise InputError(f"--backbone {name} is no model of timm{did_you_mean(name, timm.list_models())}; {WHAT_WORKS}")
    plain_backbone(name, on_meta(name))


def on_meta(name: str, **options: Any) -> nn.Module:
    """timm's model on the meta device: without memory for its weights."""
    with torch.device("meta"):
        return timm.create_model(name, **options)


def plain_backbone(name: str, model: nn.Module) -> Transformer:
    """The model that `--backbone` names, if it can have one token per class.

    Raises:
        InputError: it cannot.
    """
    try:
        return plain(model)
    except ValueError as obstacle:
        raise InputError(f"--backbone {name} {obstacle}; {WHAT_WORKS}") from obstacle


def plain(model: nn.Module) -> Transformer:
    """A model of timm, if it can have one token per class.

    Raises:
        ValueError: it cannot; the message is the end of a sentence that begins with the model's name.
    """
    if type(model) is not VisionTransformer and type(model) is not Eva:
        raise ValueError(f"is a {type(model).__name__}")
    if type(model.patch_embed) is not PatchEmbed:
        raise ValueError(f"has a {type(model.patch_embed).__name__} in place of a patch embedding")
    if len(set(model.patch_embed.patch_size)) > 1:
        raise ValueError(f"has patches that are not square: {model.patch_embed.patch_size}")
    if len(model.blocks) < 2:
        raise ValueError("has fewer than 2 blocks")
    for block in model.blocks:
        attention: Any = getattr(block, "attn", None)
        if type(attention) not in get_args(TimmAttention):
            raise ValueError(f"has blocks of the kind {type(block).__name__} with {type(attention).__name__}")
        if attention.head_dim * attention.num_heads != model.embed_dim or getattr(attention, "num_kv_groups", 1) > 1:
            raise ValueError("has attention heads whose widths do not add up to that of its tokens")
    return model


def patch_side(vit: Transformer) -> int:
    """Patch size of a transformer of timm in pixels."""
    return vit.patch_embed.patch_size[0]


def num_registers(vit: Transformer) -> int:
    """Number of register tokens of a transformer of timm."""
    return 0 if vit.reg_token is None else vit.reg_token.shape[1]


def channel_statistics(vit: nn.Module) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel that a model of timm was pretrained with."""
    config = resolve_model_data_config(vit)
    return tuple(config["mean"]), tuple(config["std"])
