"""Options of training: of DiG, and of the denoiser that guides it."""

from dataclasses import dataclass
from typing import Any

from ..errors import InputError
from .experiment import RunOptions, amp_option, compile_option
from .flags import assignments, check_ranges, option, show

LOSS_NAMES = ("cls", "pred_diff", "cam_consistency", "cls_diff", "rcams_consistency")
"""Names of the losses, in the order of `models.losses.LOSSES`."""
DEFAULT_CAP = 640
"""Default of `--infer-cap`; no image of VOC or COCO is larger."""
CAP_HELP = (
    "largest shorter side at inference in pixels: of a larger image CAMs are computed at this size, and enlarged; 0: no "
    "limit, and memory grows with the square of the number of pixels"
)
PUBLISHED_DEIT = "./pretrained/deit_small_imagenet.pth"


@dataclass(frozen=True, kw_only=True)
class LoopOptions:
    """Options of all training scripts."""

    seed: int = option(0, "seed of weights, order, augmentation and noise", low=0, high=2**31 - 1)
    amp: str = amp_option(
        "precision of the networks: off is float32 (on CUDA with TF32 products); losses always are float32"
    )
    compile: bool = compile_option()
    print_freq: int = option(50, "steps between two lines of the log", low=1, resumable=True)
    check_data: str = option(
        "first",
        "whether all images are decoded before the start: those not yet checked, all, or none",
        choices=("first", "always", "never"),
        resumable=True,
    )
    white_level: float = option(
        0.0,
        "value that is white in images of more than 8 bits, such as 1, 4095 or 65535; 0: told from files and their values",
        low=0,
    )
    wandb: str = option(
        "",
        "project of Weights & Biases that losses, scores and pictures go to, beside TensorBoard; empty: none",
        resumable=True,
    )
    ckpt_minutes: float = option(15.0, "minutes between two checkpoints: what a kill can lose", low=0, resumable=True)
    resume: bool = option(False, "continue from ckpt/last.pth with the options of that run", resumable=True)
    overwrite: bool = option(
        False, "start afresh where results exist: an experiment's checkpoints, a denoiser's --out", resumable=True
    )


@dataclass(frozen=True, kw_only=True)
class MemoryOptions:
    """Options that save memory, for networks without batch norm; results change only by rounding."""

    accum: int = option(1, "gradient accumulation: parts of a process's batch, one after the other: less memory", low=1)
    grad_checkpoint: bool = option(
        False, "compute activations again in the backward pass instead of keeping them: less memory", resumable=True
    )


@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """Data set and lists of images."""

    data_path: str = option(
        "./data/VOC2012", "data set: VOC, COCO or own images; classes.txt names other classes", resumable=True, path=True
    )
    sbd_path: str = option(
        "", "SBD release that train_aug is derived from; empty: SBD inside DATA_PATH", resumable=True, path=True
    )
    train_list: str = option(
        "", "training list, a name in ImageSets/Segmentation or a file; empty: train_aug or derived; on COCO train2014"
    )
    val_list: str = option("train", "list to validate and infer on, a name or a file; NAME:COUNT is a fixed draw from it")


@dataclass(frozen=True, kw_only=True)
class ArchitectureOptions:
    """The network."""

    input_size: int = option(224, "side of a training image in pixels", low=32, high=4096)
    infer_size: int = option(
        0, "shorter side of an image at inference in pixels; 0: as it is, up to INFER_CAP", low=0, high=4096
    )
    infer_cap: int = option(DEFAULT_CAP, CAP_HELP, low=0, high=100_000)
    infer_scales: tuple[float, ...] = option(
        (1.0,),
        "sizes that the image of INFER_SIZE is resized to in inference, relative to it; their CAMs are summed",
        low=0.1,
        high=8,
    )
    cam: str = option(
        "refined",
        "maps at inference, refined: patch CAMs times class attention, spread by patch attention, as published; spread: the"
        " same without class attention",
        choices=("refined", "spread"),
    )
    spreads: int = option(1, "how often patch attention spreads these maps", low=1, high=16)
    backbone: str = option(
        "",
        "transformer by timm's name, such as vit_small_patch14_dinov2 (python -m tools.backbones lists them); empty: a DeiT"
        " of the four sizes that follow",
    )
    backbone_options: tuple[str, ...] = option(
        (), "what timm builds BACKBONE with in place of its own sizes, such as depth=4 embed_dim=128 num_heads=4"
    )
    patch_size: int = option(16, "side of a patch in pixels; a BACKBONE has its own", low=4, high=64)
    embed_dim: int = option(384, "width of the transformer's tokens; a BACKBONE has its own", low=8)
    depth: int = option(12, "transformer blocks; a BACKBONE has its own", low=2)
    num_heads: int = option(6, "attention heads of a block; a BACKBONE has its own", low=1)
    drop_path: float = option(0.1, "stochastic-depth rate of the last block", low=0, high=0.99)
    lfca_drop_path: float = option(0.1, "stochastic-depth rate of LFCA's patches", low=0, high=0.99)
    vit_weights: str = option(
        PUBLISHED_DEIT,
        "what the transformer starts from: a file (.pth or .safetensors), timm (downloads; the default with BACKBONE),"
        " mimetic (random, with attention between like patches), none (random)",
        resumable=True,
    )
    stem: str = option(
        "",
        "pretrained convolutional trunk in the place of the patch embedding: efficientnet_lite0, or another model of timm"
        " that gives features at a stride of PATCH_SIZE; empty: none",
    )
    stem_weights: str = option(
        "auto",
        "ImageNet weights of the stem: auto (from the package in requirements-photos.txt, else timm's download), timm,"
        " a file, none (random)",
    )
    stem_levels: tuple[int, ...] = option(
        (),
        "stages of the stem whose features are concatenated, in timm's count, such as 3 4; empty: the deepest one",
        low=0,
        high=9,
    )
    stem_lr: float = option(0.0, "learning rate of the stem, as a share of the others'; 0 freezes it", low=0, high=1)
    stem_frozen: int = option(0, "first stages of a learning stem that keep their pretrained weights", low=0, high=9)


@dataclass(frozen=True, kw_only=True)
class GuidanceOptions:
    """The denoiser and its guidance."""

    diffusion_weights: str = option(
        "./pretrained/model-140-pascal.pt",
        "denoiser: a file, or random (for tests and ablations)",
        resumable=True,
        path=True,
    )
    diffusion_dim: int = option(64, "width of a random denoiser; a file carries its own", low=8)
    feature_steps: tuple[int, ...] = option((0, 1, 2, 3, 4), "diffusion steps that give features", low=0, high=999)
    guidance: str = option(
        "exact",
        "exact: a pass of the denoiser for each feature step, as published; shared: one pass stands for all of them",
        choices=("exact", "shared"),
    )
    guide: str = option(
        "denoiser",
        "denoiser: as published; blur: a Gaussian blur of equal PSNR in place of its denoised images; image: the images"
        " themselves in place of these; stem: features of the pretrained STEM in place of its own",
        choices=("denoiser", "blur", "image", "stem"),
    )
    guidance_size: int = option(
        0, "side in pixels of the images that the denoiser sees, a multiple of 8; 0: as they are", low=0, high=4096
    )
    image_step: int = option(
        100, "diffusion step that the image is denoised from; 200 did better on photographs", low=0, high=999
    )


@dataclass(frozen=True, kw_only=True)
class LossOptions:
    """Weights and constants of the losses."""

    W: tuple[float, ...] = option(
        (1.0, 1.0, 1.0, 1.0, 10.0),
        f"weights of {', '.join(LOSS_NAMES)}, or of some of them as NAME=WEIGHT",
        low=0,
        names=LOSS_NAMES,
    )
    T: float = option(5.0, "temperature of the distillation", low=0.01)
    A: float = option(0.2, "share of the labels in pred_diff; the rest is distilled", low=0, high=1)
    start_epoch: int = option(10, "first epoch, from 0, of the two consistency losses", low=0)
    guided_from: int = option(
        0, "first epoch, from 0, of all losses that need the denoiser; the first loss trains alone before it", low=0
    )


@dataclass(frozen=True, kw_only=True)
class SeedOptions(LoopOptions):
    """Seeds of single sources of randomness, to see what a score owes to each."""

    weights_seed: int = option(-1, "seed of initial weights; -1: SEED", low=-1, high=2**31 - 1)
    images_seed: int = option(-1, "seed of order and augmentation; -1: SEED", low=-1, high=2**31 - 1)
    noise_seed: int = option(-1, "seed of the denoiser's noise and of stochastic depth; -1: SEED", low=-1, high=2**31 - 1)

    def seed_of(self, source: str) -> int:
        """The seed of `weights`, `images` or `noise`."""
        own = {"weights": self.weights_seed, "images": self.images_seed, "noise": self.noise_seed}[source]
        return self.seed if own < 0 else own


@dataclass(frozen=True, kw_only=True)
class OptimizationOptions:
    """AdamW with a cosine schedule, and the augmentation."""

    epochs: int = option(60, "epochs to train", low=1)
    until: int = option(
        0, "epochs after which to stop for now, with the learning rates of EPOCHS; 0: all", low=0, resumable=True
    )
    batch_size: int = option(32, "images of a step, in all processes together", low=1)
    update_in_backward: bool = option(
        False,
        "update each weight as soon as its gradient is there, and free that: less memory; one process, no --accum, no fp16",
        resumable=True,
    )
    lr: float = option(5e-4, "learning rate for a batch of 512; scales with the batch", low=0)
    weight_decay: float = option(0.05, "weight decay of AdamW", low=0)
    warmup_epochs: int = option(5, "epochs of linear warm-up", low=0)
    warmup_lr: float = option(1e-6, "learning rate that the warm-up starts from", low=0)
    min_lr: float = option(1e-5, "learning rate that the cosine ends at", low=0)
    lr_by: str = option(
        "epoch", "when the learning rate changes: at each epoch, as published, or at each step", choices=("epoch", "step")
    )
    ema_decay: float = option(
        0.0, "decay of averaged weights, which inference and validation then use, a step; 0: none", low=0, high=0.99999
    )
    scale: tuple[float, float] = option((0.3, 1.2), "area of a random crop, as shares of the image", low=0.01, high=4)
    ratio: tuple[float, float] = option((3 / 4, 4 / 3), "aspect ratio of a random crop", low=0.1, high=10)
    aa: str = option("", "policy of timm's automatic augmentation, such as rand-m9-mstd0.5-inc1; empty: none")


@dataclass(frozen=True, kw_only=True)
class ValidationOptions:
    """When the network is scored during training."""

    val_from: int = option(9, "first epoch, from 0, after which CAMs are scored", low=0, resumable=True)
    val_every: int = option(1, "epochs between two validations", low=1, resumable=True)
    val_also: tuple[int, ...] = option((), "further epochs, from 0, that a validation follows", low=0, resumable=True)
    keep: int = option(
        0,
        "epochs whose inference weights are kept, the last ones and the one of the best mIoU; 0: all",
        low=0,
        resumable=True,
    )

    def validates(self, epoch: int, epochs: int) -> bool:
        """Whether the network is scored after this epoch; after the last one it always is."""
        due = epoch >= self.val_from and (epoch - self.val_from) % self.val_every == 0
        return due or epoch in self.val_also or epoch + 1 == epochs


@dataclass(frozen=True, kw_only=True)
class TrainOptions(
    ValidationOptions,
    OptimizationOptions,
    LossOptions,
    GuidanceOptions,
    ArchitectureOptions,
    DataOptions,
    MemoryOptions,
    SeedOptions,
    RunOptions,
):
    """`train_trm.py`."""

    def __post_init__(self) -> None:
        check_ranges(self)
        for name in ("scale", "ratio"):
            if getattr(self, name)[0] > getattr(self, name)[1]:
                raise InputError(f"--{name} takes the smaller number first, got {getattr(self, name)}")
        patch_size = 1 if self.backbone else self.patch_size
        if self.input_size % patch_size or self.input_size % 8:
            raise InputError(f"--input-size {self.input_size} must be a multiple of 8 and of --patch-size {self.patch_size}")
        if self.embed_dim % self.num_heads or self.embed_dim % 8:
            raise InputError(f"--embed-dim {self.embed_dim} must be a multiple of 8 and of --num-heads {self.num_heads}")
        if self.backbone_options and not self.backbone:
            raise InputError("--backbone-options needs --backbone; the sizes of the DeiT have flags of their own")

        assignments("--backbone-options", self.backbone_options)
        if self.stem and self.vit_weights not in ("mimetic", "none"):
            raise InputError(
                f"--stem takes --vit-weights mimetic or none, not {self.vit_weights}: DeiT expects its own patches"
            )
        if self.stem_frozen and not self.stem_lr:
            raise InputError("--stem-frozen keeps stages of a stem that learns: it needs --stem-lr above 0")
        if list(self.stem_levels) != sorted(set(self.stem_levels)):
            raise InputError(f"--stem-levels must ascend, got {show(self.stem_levels)}")
        if self.guide == "stem" and not self.stem:
            raise InputError("--guide stem takes the features of --stem, which is not given")
        if self.guidance_size % 8:
            raise InputError(f"--guidance-size {self.guidance_size} must be a multiple of 8")
        if self.diffusion_dim % 8:
            raise InputError(f"--diffusion-dim {self.diffusion_dim} must be a multiple of 8")
        if self.update_in_backward and (self.accum > 1 or self.amp == "fp16"):
            other = "--amp fp16" if self.amp == "fp16" else f"--accum {self.accum}"
            raise InputError(
                f"--update-in-backward does not go with {other}, which changes gradients after the backward pass"
            )
        steps = (*self.feature_steps, self.image_step)
        if len(set(steps)) < len(steps):
            raise InputError(f"--feature-steps and --image-step must all differ, got {steps}")

    @property
    def transformer_weights(self) -> str:
        """`vit_weights`; with `backbone`, timm's weights replace the default, which is a DeiT."""
        return "timm" if self.backbone and self.vit_weights == PUBLISHED_DEIT else self.vit_weights

    @property
    def architecture(self) -> dict[str, Any]:
        """Arguments of `models.build_dig`, except the number of classes and those that only training needs."""
        return {
            "image_size": self.input_size,
            "patch_size": self.patch_size,
            "embed_dim": self.embed_dim,
            "depth": self.depth,
            "num_heads": self.num_heads,
            "backbone": self.backbone,
            "backbone_options": assignments("--backbone-options", self.backbone_options),
            "stem": self.stem,
            "stem_levels": self.stem_levels,
            "cam": self.cam,
            "spreads": self.spreads,
        }

    @property
    def epochs_now(self) -> int:
        """Epochs after which this call stops: `until`, at most `epochs`."""
        return min(self.until or self.epochs, self.epochs)

    @property
    def scaled_lr(self) -> float:
        """Learning rate after warm-up, scaled to the batch size."""
        return self.lr * self.batch_size / 512


@dataclass(frozen=True, kw_only=True)
class DenoiserOptions(MemoryOptions, LoopOptions, RunOptions):
    """`train_diffusion.py`."""

    data: str = option(..., "folder of images, searched through all its sub-folders", resumable=True, path=True)
    out: str = option(
        "",
        "where the finished denoiser goes; empty: where the recipe looks for its own, else denoiser.pt in the experiment",
        resumable=True,
    )
    dim: int = option(64, "width of the U-Net in channels", low=8)
    image_size: int = option(224, "side of a training image in pixels", low=16, high=4096)
    crop: str = option(
        "crop", "crop: the shorter side is resized and a square drawn; resize: squeezed", choices=("crop", "resize")
    )
    steps: int = option(140_000, "training steps", low=1, resumable=True)
    batch_size: int = option(16, "images of a step, in all processes together", low=1)
    lr: float = option(8e-5, "learning rate of Adam", low=0)
    ema_decay: float = option(0.995, "decay of the averaged weights", low=0, high=1)
    ema_every: int = option(10, "steps between two updates of the average", low=1)
    sample_every: int = option(1000, "steps between two sample grids and checkpoints", low=1, resumable=True)
    num_samples: int = option(25, "images of a sample grid", low=1)
    sample_steps: int = option(50, "DDIM steps of a sample", low=1, high=1000)

    def __post_init__(self) -> None:
        check_ranges(self)
        for name in ("dim", "image_size"):
            if getattr(self, name) % 8:
                raise InputError(f"--{name.replace('_', '-')} must be a multiple of 8, got {getattr(self, name)}")


def shared_batch_of(options: TrainOptions | DenoiserOptions) -> int:
    """The number of images that the processes share evenly: the batch size over `--accum`, or the batch size if `--accum`
    does not divide it.
    """
    return options.batch_size // options.accum if options.batch_size % options.accum == 0 else options.batch_size
