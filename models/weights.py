"""Pretrained weights: ImageNet statistics, and initialisation from a transformer with one class token."""

import functools
from collections.abc import Mapping

import timm.models.eva
import timm.models.vision_transformer
import torch
import torch.nn.functional as F
from timm.models.eva import Eva
from torch import Tensor, nn

from utils.training.checkpoint import misfits

from .backbones import Transformer, is_deit, on_meta, plain
from .vit import MultiClassTokenViT

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def imagenet_normalize(image01: Tensor) -> Tensor:
    """Standardises (..., 3, H, W) in [0, 1] with ImageNet's channel statistics, as DeiT expects."""
    return standardize(image01, IMAGENET_MEAN, IMAGENET_STD)


def standardize(image01: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """Subtracts the mean of each channel from (..., 3, H, W) in [0, 1] and divides by its standard deviation."""
    return (image01 - channel_table(mean, image01.device, image01.dtype)) / channel_table(std, image01.device, image01.dtype)


@functools.cache
def channel_table(values: tuple[float, ...], device: torch.device, dtype: torch.dtype) -> Tensor:
    """One value per channel, (3, 1, 1); cached, because each copy to a GPU would wait for it."""
    return torch.tensor(values, device=device, dtype=dtype)[:, None, None]


def load_deit(model: MultiClassTokenViT, state_dict: Mapping[str, Tensor]) -> None:
    """Initialises the transformer from a DeiT with one class token; the rest of `model` keeps its values.

    The class token and its position are repeated for every class, patch positions are resized to the model's grid and
    the classifier is dropped.

    Args:
        model: the network to initialise.
        state_dict: parameters under timm's names (`deit_small_patch16_224`).

    Raises:
        ValueError: a parameter is missing, has no place in the model or is of another size; all are named.
    """
    weights = {name: value for name, value in state_dict.items() if not name.startswith(("head.", "head_dist."))}
    C = model.num_classes
    if "cls_token" in weights:
        weights["cls_token"] = weights["cls_token"].expand(-1, C, -1)
    if "pos_embed" in weights:
        weights["pos_embed"] = expand_position(weights["pos_embed"], C, model.grid_size)
    load_transformer(model, weights)


def load_backbone(model: MultiClassTokenViT, state_dict: Mapping[str, Tensor]) -> None:
    """Initialises a network's backbone from weights with one class token or none; the rest of `model` keeps its values.

    timm's own conversion renames parameters and resizes patches and their positions. Without a class token in the weights,
    the class tokens stay random.

    Args:
        model: the network to initialise.
        state_dict: parameters under timm's names or those of the original authors.

    Raises:
        ValueError: a parameter is missing, has no place in the model or is of another size, or the spelling is unknown.
    """
    if is_deit(model.backbone):
        load_deit(model, state_dict)
        return
    theirs = plain(on_meta(model.backbone, img_size=model.image_size, num_classes=0, **model.backbone_options))
    try:
        weights = in_timms_names(dict(state_dict), theirs)
    # Weights of another kind can fail anywhere in timm's conversion.
    except Exception as error:
        raise ValueError(f"its names are neither timm's nor those of the authors of {model.backbone}: {error!r}") from error
    unused = ["head", "fc_norm.", "attn_pool."]
    if isinstance(model.norm, nn.Identity):
        unused.append("norm.")
    weights = {name: value for name, value in weights.items() if not name.startswith(tuple(unused))}
    if "cls_token" in weights:
        weights["cls_token"] = weights["cls_token"].expand(-1, model.num_classes, -1)
    if "pos_embed" in weights:
        weights["pos_embed"] = model.repeat_class_position(weights["pos_embed"])
    load_transformer(model, weights)


def in_timms_names(weights: dict[str, Tensor], theirs: Transformer) -> dict[str, Tensor]:
    """Parameters converted to the names and shapes of a transformer of timm."""
    if isinstance(theirs, Eva):
        return timm.models.eva.checkpoint_filter_fn(weights, theirs)
    return timm.models.vision_transformer.checkpoint_filter_fn(weights, theirs, adapt_layer_scale=True)


def load_transformer(model: MultiClassTokenViT, weights: Mapping[str, Tensor]) -> None:
    """Loads the transformer's parameters, all of them and no others.

    Raises:
        ValueError: names or shapes differ.
    """
    wanted = {name: value for name, value in model.state_dict().items() if name in vit_parameter_names(model)}
    problems = misfits(wanted, weights)
    if problems:
        raise ValueError("; ".join(sorted(problems)[:6]) + (f"; {len(problems)} in all" if len(problems) > 6 else ""))
    model.load_state_dict(weights, strict=False)


def vit_parameter_names(model: MultiClassTokenViT) -> set[str]:
    """Names of the parameters that a transformer's checkpoint holds."""
    roots = ["reg_token", "pos_embed", "patch_embed.", "rope.", "norm_pre.", "blocks.", "norm."]
    if model.has_class_token:
        roots.append("cls_token")
    return {name for name in model.state_dict() if name.startswith(tuple(roots))}


def expand_position(pos_embed: Tensor, num_classes: int, grid_size: int) -> Tensor:
    """Position embedding (1, 1 + g * g, D) -> (1, C + grid_size ** 2, D)."""
    class_position, patch_position = pos_embed[:, :1], pos_embed[:, 1:]
    g = round(patch_position.shape[1] ** 0.5)
    if g != grid_size:
        patch_position = F.interpolate(
            patch_position.reshape(1, g, g, -1).permute(0, 3, 1, 2), (grid_size, grid_size), mode="bicubic"
        )
        patch_position = patch_position.flatten(2).transpose(1, 2)
    return torch.cat((class_position.expand(-1, num_classes, -1), patch_position), dim=1)
