"""Options of every script: frozen dataclasses that become flags (`utils.flags`), are checked, and are saved with the run.

`--exp` picks a recipe (`utils.recipes`), which replaces defaults.
"""

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import InputError
from .experiment_options import ExperimentOptions
from .files import whole_file
from .flags import OptionsT, check_ranges, make_options, option, show
from .mask_options import CrfOptions, ThresholdOptions

OPTIONS_FILE = "options.json"


def amp_option(help: str):
    """The field of `--amp`."""
    return option("off", help, choices=("off", "bf16", "fp16"))


def compile_option():
    """The field of `--compile`."""
    return option(False, "compile the networks with torch.compile: minutes at the start (on CPUs it needs a C++ compiler)")


@dataclass(frozen=True, kw_only=True)
class RunOptions(ExperimentOptions):
    """Where a run's results are and what it runs on."""

    exp: str = option("dig_eccv24", "recipe that sets the defaults of the other flags")
    device: str = option("auto", "auto takes CUDA, then MPS, then the CPU", choices=("auto", "cuda", "mps", "cpu"))
    nproc: int = option(0, "processes of this machine that share the work; 0: one per GPU, one on a CPU", low=0, high=256)
    num_workers: int = option(
        -1, "workers of each process that load images, -1: one per core, 8 at most; results are the same", low=-1, high=256
    )


@dataclass(frozen=True, kw_only=True)
class LoopOptions:
    """What every training loop has."""

    seed: int = option(0, "seed of weights, order, augmentation and noise", low=0, high=2**31 - 1)
    amp: str = amp_option(
        "precision of the networks: off is float32 (on CUDA with TF32 products); losses always are float32"
    )
    compile: bool = compile_option()
    print_freq: int = option(50, "steps between two lines of the log", low=1)
    check_data: str = option(
        "first",
        "whether all images are decoded before the start: those not seen good before, all, or none",
        choices=("first", "always", "never"),
    )
    ckpt_minutes: float = option(15.0, "minutes between two checkpoints: what a kill can lose", low=0)
    resume: bool = option(False, "continue from ckpt/last.pth with the options of that run")
    overwrite: bool = option(False, "start afresh where results exist: an experiment's checkpoints, a denoiser's --out")


@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """Which images."""

    data_path: str = option("./data/VOC2012", "data set in the layout of VOC or COCO; classes.txt names other classes")
    sbd_path: str = option("", "SBD release that train_aug is derived from; empty: SBD inside DATA_PATH")
    train_list: str = option(
        "", "training list, a name in ImageSets/Segmentation or a file; empty: train_aug or derived; on COCO train2014"
    )
    val_list: str = option("train", "list to validate and infer on, a name or a file; NAME:COUNT is a fixed draw from it")


@dataclass(frozen=True, kw_only=True)
class ArchitectureOptions:
    """The network."""

    input_size: int = option(224, "side of a training image in pixels", low=32, high=4096)
    infer_size: int = option(0, "shorter side of an image at inference in pixels; 0: as it is", low=0, high=4096)
    patch_size: int = option(16, "side of a patch in pixels", low=4, high=64)
    embed_dim: int = option(384, "width of the transformer's tokens", low=8)
    depth: int = option(12, "transformer blocks", low=2)
    num_heads: int = option(6, "attention heads of a block", low=1)
    drop_path: float = option(0.1, "stochastic-depth rate of the last block", low=0, high=0.99)
    lfca_drop_path: float = option(0.1, "stochastic-depth rate of LFCA's patches", low=0, high=0.99)
    vit_weights: str = option(
        "./pretrained/deit_small_imagenet.pth",
        "DeiT to start from: a file, timm (downloads), mimetic (random, with attention between like patches), none (random)",
    )


@dataclass(frozen=True, kw_only=True)
class GuidanceOptions:
    """The denoiser's part."""

    diffusion_weights: str = option(
        "./pretrained/model-140-pascal.pt", "denoiser: a file, or random (for tests and ablations)"
    )
    diffusion_dim: int = option(64, "width of a random denoiser; a file carries its own", low=8)
    feature_steps: tuple[int, ...] = option((0, 1, 2, 3, 4), "diffusion steps that give features", low=0, high=999)
    guidance: str = option(
        "exact",
        "exact: a pass of the denoiser for each feature step, as published; shared: one pass stands for all of them",
        choices=("exact", "shared"),
    )
    image_step: int = option(100, "diffusion step that the image is denoised from", low=0, high=999)


@dataclass(frozen=True, kw_only=True)
class LossOptions:
    """Weights and constants of the losses."""

    W: tuple[float, ...] = option(
        (1.0, 1.0, 1.0, 1.0, 10.0), "weights: cls, pred_diff, cam_consistency, cls_diff, rcams_consistency", low=0
    )
    T: float = option(5.0, "temperature of the distillation", low=0.01)
    A: float = option(0.2, "share of the labels in pred_diff; the rest is distilled", low=0, high=1)
    start_epoch: int = option(10, "first epoch, from 0, of the two consistency losses", low=0)


@dataclass(frozen=True, kw_only=True)
class OptimizationOptions:
    """AdamW with a cosine schedule, and the augmentation."""

    epochs: int = option(60, "epochs to train", low=1)
    batch_size: int = option(32, "images of a step, in all processes together", low=1)
    accum: int = option(
        1, "parts that a process's images of a step go through the networks in, one after the other: less memory", low=1
    )
    grad_checkpoint: bool = option(
        False, "compute activations of transformer and LFCA again in the backward pass instead of keeping them: less memory"
    )
    update_in_backward: bool = option(
        False,
        "update each weight as soon as its gradient is there, and free that: less memory; one process, no --accum, no fp16",
    )
    lr: float = option(5e-4, "learning rate for a batch of 512; scales with the batch", low=0)
    weight_decay: float = option(0.05, "weight decay of AdamW", low=0)
    warmup_epochs: int = option(5, "epochs of linear warm-up", low=0)
    warmup_lr: float = option(1e-6, "learning rate that the warm-up starts from", low=0)
    min_lr: float = option(1e-5, "learning rate that the cosine ends at", low=0)
    scale: tuple[float, float] = option((0.3, 1.2), "area of a random crop, as shares of the image", low=0.01, high=4)
    ratio: tuple[float, float] = option((3 / 4, 4 / 3), "aspect ratio of a random crop", low=0.1, high=10)
    aa: str = option("", "policy of timm's automatic augmentation, such as rand-m9-mstd0.5-inc1; empty: none")


@dataclass(frozen=True, kw_only=True)
class ValidationOptions:
    """When the CAMs are scored during training."""

    val_from: int = option(9, "first epoch, from 0, after which CAMs are scored", low=0)
    val_every: int = option(1, "epochs between two validations", low=1)
    val_also: tuple[int, ...] = option((), "further epochs, from 0, after which CAMs are scored", low=0)
    keep: int = option(
        0, "epochs whose ckpt/<epoch>net_trm.pth are kept, the last ones and the one of the best mIoU; 0: all", low=0
    )


@dataclass(frozen=True, kw_only=True)
class TrainOptions(
    ValidationOptions,
    OptimizationOptions,
    LossOptions,
    GuidanceOptions,
    ArchitectureOptions,
    DataOptions,
    LoopOptions,
    RunOptions,
):
    """`train_trm.py`."""

    def __post_init__(self):
        check_ranges(self)
        if len(self.W) != 5:
            raise InputError(f"--W takes 5 weights, got {len(self.W)}")
        for name in ("scale", "ratio"):
            if getattr(self, name)[0] > getattr(self, name)[1]:
                raise InputError(f"--{name} takes the smaller number first, got {getattr(self, name)}")
        if self.input_size % self.patch_size or self.input_size % 8:
            raise InputError(f"--input-size {self.input_size} must be a multiple of 8 and of --patch-size {self.patch_size}")
        if self.embed_dim % self.num_heads or self.embed_dim % 8:
            raise InputError(f"--embed-dim {self.embed_dim} must be a multiple of 8 and of --num-heads {self.num_heads}")
        if self.diffusion_dim % 8:
            raise InputError(f"--diffusion-dim {self.diffusion_dim} must be a multiple of 8")
        if self.update_in_backward and (self.accum > 1 or self.amp == "fp16"):
            other = "--amp fp16" if self.amp == "fp16" else f"--accum {self.accum}"
            raise InputError(f"--update-in-backward does not go with {other}: gradients would change after it")
        steps = (*self.feature_steps, self.image_step)
        if len(set(steps)) < len(steps):
            raise InputError(f"--feature-steps and --image-step must all differ, got {steps}")

    @property
    def architecture(self) -> dict[str, int]:
        """What `models.build_dig` is told, beside the number of classes and what only training needs."""
        return {
            "image_size": self.input_size,
            "patch_size": self.patch_size,
            "embed_dim": self.embed_dim,
            "depth": self.depth,
            "num_heads": self.num_heads,
        }

    @property
    def scaled_lr(self) -> float:
        """Learning rate after warm-up."""
        return self.lr * self.batch_size / 512


@dataclass(frozen=True, kw_only=True)
class DenoiserOptions(LoopOptions, RunOptions):
    """`train_diffusion.py`."""

    data: str = option(..., "folder of images, searched through all its sub-folders")
    out: str = option(
        "", "where the finished denoiser goes; empty: where the recipe looks for its own, else denoiser.pt in the experiment"
    )
    dim: int = option(64, "width of the U-Net in channels", low=8)
    image_size: int = option(224, "side of a training image in pixels", low=16, high=4096)
    crop: str = option(
        "crop", "crop: the shorter side is resized and a square drawn; resize: squeezed", choices=("crop", "resize")
    )
    steps: int = option(140_000, "training steps", low=1)
    batch_size: int = option(16, "images of a step, in all processes together", low=1)
    lr: float = option(8e-5, "learning rate of Adam", low=0)
    ema_decay: float = option(0.995, "decay of the averaged weights", low=0, high=1)
    ema_every: int = option(10, "steps between two updates of the average", low=1)
    sample_every: int = option(1000, "steps between two sample grids and checkpoints", low=1)
    num_samples: int = option(25, "images of a sample grid", low=1)
    sample_steps: int = option(50, "DDIM steps of a sample", low=1, high=1000)

    def __post_init__(self):
        check_ranges(self)
        for name in ("dim", "image_size"):
            if getattr(self, name) % 8:
                raise InputError(f"--{name.replace('_', '-')} must be a multiple of 8, got {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True)
class InferOptions(ThresholdOptions, CrfOptions, RunOptions):
    """`infer_trm.py`. Data set, classes and architecture come from the run; an empty flag takes the run's value."""

    exp: str = option("", "recipe; needed only where the experiment has no options.json (default dig_eccv24)")
    load_epo: int = option(-1, "epoch whose ckpt/<epoch>net_trm.pth is used; -1: the last one there", low=-1)
    weights: str = option("", "weights file, instead of an epoch of the experiment")
    data_path: str = option("", "data set; empty: the run's")
    val_list: str = option("", "list of images, a name or a file; empty: the run's")
    infer_size: int = option(-1, "shorter side of an image in pixels, 0: as it is; -1: the run's", low=-1, high=4096)
    overwrite: bool = option(False, "remove what other weights or options have written there, instead of refusing")
    amp: str = amp_option("precision of the network: off is float32; CAMs are normalised in float32 always")
    compile: bool = compile_option()
    batch_size: int = option(1, "images of one size that go through the network together", low=1, high=4096)
    scales: tuple[float, ...] = option(
        (1.0,),
        "sizes that each image is seen at, times its own; their CAMs are summed before normalisation",
        low=0.1,
        high=8,
    )
    cam_size: str = option(
        "full",
        "resolution of the CAM dicts, full: every pixel; patch: as the network has them, some 3 KB a class in place of 750,"
        " from which evaluation.py and all other commands make the same full-size CAMs; takes one of --scales",
        choices=("full", "patch"),
    )
    dict: bool = option(False, "write CAM dicts to dict/")
    vis: bool = option(False, "write a picture per image and class to vis/")
    crf: bool = option(False, "write CRF-refined score dicts to crf/<alpha>/ (needs pydensecrf2)")
    png: str = option(
        "none",
        "write pseudo-masks to png/, threshold: of CAMs; crf: of CRF scores. One --threshold or one of --alphas labels every"
        " pixel, as for DeepLab; --low and --high, or two alphas, only where both agree, the rest 255, as for IRN",
        choices=("none", "threshold", "crf"),
    )

    def __post_init__(self):
        super().__post_init__()
        if not (self.dict or self.vis or self.crf or self.png != "none"):
            raise InputError("nothing to write: give --dict, --vis or --crf, or --png threshold or crf")
        if self.cam_size == "patch" and len(self.scales) > 1:
            raise InputError(f"--cam-size patch takes one of --scales, got {show(self.scales)}: their grids differ")
        if self.png == "crf" and len(self.alphas) > 2:
            raise InputError(f"--png crf takes one of --alphas or two, got {show(self.alphas)}")
        if self.png == "threshold":
            _ = self.thresholds  # says what is wrong with them

    @property
    def uses_crf(self) -> bool:
        """Whether anything that is asked for takes the CRF."""
        return self.crf or self.png == "crf"


@dataclass(frozen=True, kw_only=True)
class EvaluationOptions(ExperimentOptions):
    """`evaluation.py`. Data set and classes come from the run; an empty flag takes the run's value."""

    name: str = option("", "experiment; not needed where --dict-dir, --gt-dir and --list are all paths")
    exp: str = option("", "recipe; needed only where the experiment has no options.json (default dig_eccv24)")
    task: str = option(
        "cam",
        "cam: threshold sweep; crf, dl: score dicts with background; png: label images",
        choices=("cam", "crf", "dl", "png"),
    )
    dict_dir: str = option(
        "", "predictions: a folder in the experiment, or a path; empty: dict, png, or the only crf/<alpha>, by the task"
    )
    gt_dir: str = option("SegmentationClass", "masks: a folder in the data set, or a path")
    list: str = option("", "images to score, a name or a file; empty: the run's validation list")
    data_path: str = option("", "data set; empty: the run's")
    json: str = option("", "file to write the scores to")
    num_workers: int = option(-1, "processes, at least 1; -1: one per core", low=-1, high=256)

    def __post_init__(self):
        check_ranges(self)


@dataclass(frozen=True, kw_only=True)
class ReportOptions(ExperimentOptions):
    """`python -m utils.report`. Data set and classes come from the run; an empty flag takes the run's value."""

    dict_dir: str = option("dict", "CAM dicts: a folder in the experiment, or a path")
    data_path: str = option("", "data set; empty: the run's")
    list: str = option("", "images to score, a name or a file; empty: the run's validation list")
    images: int = option(3, "images shown of each group: the worst, the median and the best", low=1, high=20)
    out: str = option("", "file to write; empty: report.html in the experiment")
    num_workers: int = option(-1, "processes, at least 1; -1: one per core", low=-1, high=256)

    def __post_init__(self):
        check_ranges(self)


@dataclass(frozen=True, kw_only=True)
class PrepareOptions:
    """What both preparations have."""

    num_workers: int = option(-1, "processes, at least 1; -1: one per core", low=-1, high=256)


@dataclass(frozen=True, kw_only=True)
class PrepareCocoOptions(PrepareOptions):
    """`python -m datasets.prepare coco`."""

    data_path: str = option("./data/COCO2014", "folder with train2014, val2014 and annotations")
    splits: tuple[str, ...] = option(("train2014", "val2014"), "splits to prepare")
    crowds: str = option(
        "ignore", "what crowd regions become: 255, their class, or background", choices=("ignore", "class", "background")
    )
    out: str = option("", "folder of the masks and tables; empty: SegmentationClass and annotations in DATA_PATH")

    def __post_init__(self):
        check_ranges(self)


@dataclass(frozen=True, kw_only=True)
class PrepareVocOptions(PrepareOptions):
    """`python -m datasets.prepare voc`."""

    data_path: str = option("./data/VOC2012", "VOCdevkit/VOC2012")
    sbd_path: str = option("", "the SBD release; empty: SBD in DATA_PATH")
    download: bool = option(False, "fetch what is missing of VOC 2012 and SBD, through torchvision")

    def __post_init__(self):
        check_ranges(self)


@dataclass(frozen=True, kw_only=True)
class ToyOptions:
    """`python -m datasets.toy`."""

    data_path: str = option("./data/toy", "folder that becomes the data set")
    train_images: int = option(1600, "images of the list train", low=1, high=10**6)
    val_images: int = option(200, "images of the list val", low=1, high=10**6)
    size: int = option(64, "longer side of an image in pixels", low=32, high=4096)
    seed: int = option(0, "seed of the images", low=0, high=2**31 - 1)

    def __post_init__(self):
        check_ranges(self)


def save_options(options: Any, classes: Sequence[str], job: str = "") -> None:
    """Writes `options.json` into the experiment: the options used, the names of the classes, and torchrun's job."""
    content = {"options": dataclasses.asdict(options), "classes": list(classes), "job": job}
    with whole_file(options.folder / OPTIONS_FILE, durable=True) as file:
        file.write((json.dumps(content, indent=2) + "\n").encode())


def load_options(cls: type[OptionsT], path: Path) -> OptionsT:
    """The options that a run saved.

    Raises:
        InputError: the file is damaged, of another kind of run, or was written by another version.
    """
    try:
        return make_options(cls, json.loads(path.read_text())["options"])
    except (ValueError, TypeError, KeyError, RecursionError, InputError) as error:
        raise InputError(f"{path} is not the options of a run: {error}") from error


def load_run(folder: Path) -> tuple[TrainOptions, tuple[str, ...]] | None:
    """The options that an experiment was trained with and its class names; None where it holds none.

    Raises:
        InputError: the file is damaged or was written by another version.
    """
    path = folder / OPTIONS_FILE
    if not path.exists():
        return None
    options = load_options(TrainOptions, path)
    classes = json.loads(path.read_text()).get("classes")
    if not isinstance(classes, list) or not classes or not all(isinstance(name, str) for name in classes):
        raise InputError(f"{path} is not the options of a run: it names no classes")
    return options, tuple(classes)
