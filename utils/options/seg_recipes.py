"""Recipes of train_seg.py and train_affinity.py: the defaults of their flags that `--exp` selects."""

from collections.abc import Mapping, Sequence
from typing import Any

from .recipes import Recipe, named_recipe
from .segmentation import AffinityOptions, SegOptions

SEG_RECIPES = {
    "seg_deeplab": Recipe(
        "DeepLabV3+ with a ResNet-101 for GPUs, the defaults of all flags: 30 epochs of train_aug are 20 k steps",
    ),
    "seg_vit": Recipe(
        "DPT with a ViT-B for GPUs",
        train={
            "arch": "dpt",
            "encoder": "tu-vit_base_patch16_224.augreg_in21k",
            "arch_options": ("dynamic_img_size=True",),
            "optimizer": "adamw",
            "lr": 4e-4,
            "weight_decay": 0.01,
            "warmup_epochs": 1.0,
            "power": 1.0,
        },
    ),
    "seg_coco_deeplab": Recipe(
        "seg_deeplab on COCO: 6 epochs of train2014 are 31 k steps",
        train={"data_path": "./data/COCO2014", "val_list": "val2014", "epochs": 6},
    ),
    "seg_lite": Recipe(
        "DeepLabV3+ with an EfficientNet-Lite0 for two CPU cores, whose ImageNet weights come with a package",
        train={
            "train_list": "train",
            "encoder": "tu-tf_efficientnet_lite0",
            "arch_options": ("decoder_channels=128", "decoder_aspp_dropout=0.1"),
            "freeze_bn": True,
            "crop_size": 224,
            "infer_size": 288,
            "train_size": 256,
            "scale": (0.75, 1.75),
            "optimizer": "adamw",
            "lr": 1e-3,
            "encoder_lr": 0.3,
            "weight_decay": 0.01,
            "warmup_epochs": 0.5,
            "ema_decay": 0.99,
            "epochs": 8,
            "print_freq": 10,
            "val_from": 4,
            "val_every": 5,
        },
    ),
    "seg_toy": Recipe(
        "a Unet with an EfficientNet of a few thousand parameters: for the toy data and tests",
        train={
            "data_path": "./data/toy",
            "train_list": "train",
            "arch": "unet",
            "encoder": "tu-test_efficientnet",
            "encoder_weights": "none",
            "arch_options": ("decoder_channels=(32, 32, 16, 16, 16)",),
            "crop_size": 64,
            "optimizer": "adamw",
            "lr": 3e-3,
            "encoder_lr": 1.0,
            "weight_decay": 0.01,
            "epochs": 5,
            "print_freq": 25,
        },
    ),
}

LITE = SEG_RECIPES["seg_lite"].train
AFFINITY_RECIPES = {
    "aff_resnet": Recipe("DeepLabV3+'s features on a ResNet-50 for GPUs, the defaults of all flags"),
    "aff_lite": Recipe(
        "the same on an EfficientNet-Lite0 for two CPU cores",
        train={
            name: LITE[name]
            for name in (
                "train_list",
                "encoder",
                "freeze_bn",
                "crop_size",
                "train_size",
                "optimizer",
                "encoder_lr",
                "print_freq",
            )
        }
        | {
            "arch_options": ("decoder_channels=128", "upsampling=1"),
            "infer_size": 288,
            "scale": (0.9, 1.4),
            "lr": 1e-3,
            "weight_decay": 0.01,
            "epochs": 3,
        },
    ),
    "aff_toy": Recipe(
        "for the toy data and tests",
        train={name: value for name, value in SEG_RECIPES["seg_toy"].train.items() if name != "print_freq"}
        | {"crop_size": 64, "stride": 4, "radius": 3, "embed_dim": 16},
    ),
}
"""Recipes of train_affinity.py."""


def seg_defaults(args: Sequence[str]) -> Mapping[str, Any]:
    """Defaults of train_seg.py's flags: the values of the recipe that its command line names."""
    return named_recipe(args, SegOptions.exp, SEG_RECIPES).train


def affinity_defaults(args: Sequence[str]) -> Mapping[str, Any]:
    """Defaults of train_affinity.py's flags: the values of the recipe that its command line names."""
    return named_recipe(args, AffinityOptions.exp, AFFINITY_RECIPES).train
