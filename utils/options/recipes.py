"""Recipes: named sets of default values for the flags, selected by `--exp`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import InputError, did_you_mean


@dataclass(frozen=True)
class Recipe:
    """A named set of defaults for a training, and for that of its denoiser."""

    summary: str
    train: Mapping[str, Any] = field(default_factory=dict)
    denoiser: Mapping[str, Any] = field(default_factory=dict)

    @property
    def denoiser_file(self) -> str:
        """The file that this recipe's training loads its denoiser from; empty if the recipe sets none."""
        return self.train.get("diffusion_weights", "")


# 5,200 training images are enough to track the score; the draw is the same in every run.
COCO_DATA = {"data_path": "./data/COCO2014", "val_list": "train2014:5200"}

NANO = Recipe(
    "the same method at a size that two CPU cores train from scratch: for tests, demos and debugging",
    train={
        "input_size": 64,
        "infer_size": 96,
        "patch_size": 8,
        "embed_dim": 128,
        "depth": 4,
        "num_heads": 4,
        "drop_path": 0.0,
        "vit_weights": "mimetic",
        "diffusion_weights": "./pretrained/model-nano.pt",
        "diffusion_dim": 16,
        "W": (1.0, 1.0, 1.0, 1.0, 1.0),
        "start_epoch": 20,
        "epochs": 40,
        "batch_size": 16,
        "lr": 6.4e-2,
        "scale": (0.5, 1.0),
        "print_freq": 5,
        "val_from": 9,
        "val_every": 10,
    },
    denoiser={
        "dim": 16,
        "image_size": 64,
        "steps": 1000,
        "batch_size": 8,
        "lr": 1e-3,
        "sample_every": 500,
        "num_samples": 16,
    },
)

TOY = Recipe(
    "dig_nano on the images that datasets.toy draws",
    train={
        **NANO.train,
        "data_path": "./data/toy",
        "val_list": "val",
        "input_size": 32,
        "infer_size": 0,
        "patch_size": 4,
        "diffusion_weights": "./pretrained/model-toy.pt",
        "diffusion_dim": 8,
        "epochs": 5,
        "start_epoch": 2,
        "lr": 1.6e-2,
        "warmup_epochs": 1,
        "warmup_lr": 1e-4,
        "scale": (0.3, 1.0),
        "print_freq": 25,
        "val_from": 3,
        "val_every": 1,
    },
    denoiser={
        **NANO.denoiser,
        "dim": 8,
        "image_size": 32,
        "steps": 600,
        "batch_size": 16,
        "lr": 2e-3,
        "sample_every": 300,
    },
)

LITE = Recipe(
    "the whole method on photographs for two CPU cores, on a trunk whose ImageNet weights come with a package",
    train={
        "train_list": "train",
        "val_list": "val",
        "infer_size": 320,
        "infer_scales": (1.0, 1.8),
        "cam": "spread",
        "spreads": 2,
        "embed_dim": 96,
        "depth": 2,
        "num_heads": 4,
        "drop_path": 0.0,
        "vit_weights": "mimetic",
        "stem": "efficientnet_lite0",
        "stem_levels": (3, 4),
        "stem_lr": 0.1,
        "stem_frozen": 2,
        "diffusion_weights": "./pretrained/model-lite.pt",
        "diffusion_dim": 16,
        "guidance": "shared",
        "guidance_size": 80,
        "W": (1.0, 1.0, 1.0, 1.0, 1.0),
        "guided_from": 5,
        "start_epoch": 6,
        "epochs": 8,
        "batch_size": 16,
        "accum": 2,
        "lr": 3.2e-2,
        "lr_by": "step",
        "ema_decay": 0.99,
        "warmup_epochs": 1,
        "print_freq": 10,
        "val_from": 7,
    },
    denoiser={
        "dim": 16,
        "image_size": 64,
        "steps": 600,
        "batch_size": 8,
        "lr": 1e-3,
        "sample_every": 1000,
        "num_samples": 16,
    },
)

COCO_EXP = "dig_coco_eccv24"
"""The default recipe of train_trm_coco.py."""

RECIPES = {
    "dig_eccv24": Recipe("the paper's VOC setting: the defaults of all flags"),
    "dig_coco_eccv24": Recipe(
        "the paper's COCO setting",
        train={
            **COCO_DATA,
            "diffusion_weights": "./pretrained/model-140-coco.pt",
            "batch_size": 64,
            "T": 10.0,
            "A": 0.1,
            "aa": "rand-m9-mstd0.5-inc1",
            "val_also": (3,),
            "val_from": 11,
        },
    ),
    "dig_lite": LITE,
    "dig_coco_lite": Recipe(
        "dig_lite on COCO, with its trunk frozen",
        train={**LITE.train, **COCO_DATA, "train_list": "", "stem_lr": 0.0, "stem_frozen": 0},
        denoiser=LITE.denoiser,
    ),
    "dig_nano": NANO,
    "dig_toy": TOY,
    "dig_coco_nano": Recipe("dig_nano on COCO", train={**NANO.train, **COCO_DATA}, denoiser=NANO.denoiser),
}


def recipe(name: str, recipes: Mapping[str, Recipe] = RECIPES) -> Recipe:
    """The recipe of that name.

    Raises:
        InputError: there is none.
    """
    if name not in recipes:
        known = ", ".join(f"{known} ({r.summary})" for known, r in recipes.items())
        raise InputError(f"--exp {name} is no recipe{did_you_mean(name, recipes, 0.8) or f'; there are {known}'}")
    return recipes[name]


def named_recipe(args: Sequence[str], default: str = "dig_eccv24", recipes: Mapping[str, Recipe] = RECIPES) -> Recipe:
    """The recipe that a command line names, before its other flags are read."""
    name = default
    for i, arg in enumerate(args):
        if arg == "--exp" and i + 1 < len(args):
            name = args[i + 1]
        elif arg.startswith("--exp="):
            name = arg.removeprefix("--exp=")
    return recipe(name, recipes)


def train_defaults(args: Sequence[str], exp: str = "dig_eccv24") -> dict[str, Any]:
    """Defaults of train_trm.py's flags: the values of the recipe that its command line names, or of `exp`."""
    return {"exp": exp, **named_recipe(args, exp).train}


def denoiser_defaults(args: Sequence[str]) -> Mapping[str, Any]:
    """Defaults of train_diffusion.py's flags: the values of the recipe that its command line names."""
    return named_recipe(args).denoiser
