"""Options of segmentation and affinity networks, which learn from masks: of training and inference."""

from dataclasses import dataclass
from typing import Any

from ..errors import InputError
from .experiment import ExperimentOptions, MachineOptions, RunOptions, WeightsOptions, amp_option
from .flags import assignments, check_ranges, option
from .inference import infer_size_option
from .results import CrfSettings, png_dir_option
from .training import LoopOptions, ValidationOptions

TRUTH = "truth"
SEG_CAP_HELP = "largest shorter side at inference in pixels, to which larger images are reduced; 0: seen in windows"


@dataclass(frozen=True, kw_only=True)
class MaskDataOptions:
    """Which images, and which masks."""

    masks: str = option(
        ...,
        "folder of the masks to learn from, 255 ignored, such as experiment/X/png; truth: those of the data set",
        resumable=True,
        path=True,
    )
    data_path: str = option(
        "./data/VOC2012", "data set in any layout; its masks are only used for scores", resumable=True, path=True
    )
    sbd_path: str = option(
        "", "SBD release that train_aug is derived from; empty: SBD inside DATA_PATH", resumable=True, path=True
    )
    train_list: str = option(
        "", "training list, a name in ImageSets/Segmentation or a file; empty: train_aug or derived; on COCO train2014"
    )


@dataclass(frozen=True, kw_only=True)
class MaskNetworkOptions:
    """The network."""

    arch: str = option(
        "deeplabv3plus", "architecture of segmentation-models-pytorch, such as deeplabv3plus, unet, fpn, segformer, dpt"
    )
    encoder: str = option(
        "tu-resnet101", "encoder: tu- and a name of timm, or a name of segmentation-models-pytorch, such as mit_b2"
    )
    arch_options: tuple[str, ...] = option(
        (), "what the architecture is built with in place of its own defaults, such as decoder_channels=128"
    )
    encoder_weights: str = option(
        "auto",
        "what the encoder starts from: auto (efficientnet_lite0: the package in requirements-photos.txt; else a download),"
        " timm (download), a file with a classifier of timm's, none (random)",
        resumable=True,
    )
    freeze_bn: bool = option(False, "keep the batch statistics that the encoder was pretrained with")
    crop_size: int = option(512, "side of a training image in pixels, a multiple of 32", low=32, high=4096)
    infer_size: int = option(
        0, "shorter side of an image at inference in pixels; 0: as it is, up to INFER_CAP", low=0, high=4096
    )
    infer_cap: int = option(0, SEG_CAP_HELP, low=0, high=100_000)

    @property
    def architecture(self) -> dict[str, Any]:
        """Arguments of `models.build_segmenter`, except the number of channels and the encoder's weights."""
        return {
            "arch": self.arch,
            "encoder": self.encoder,
            "arch_options": assignments("--arch-options", self.arch_options),
            "freeze_bn": self.freeze_bn,
        }


@dataclass(frozen=True, kw_only=True)
class MaskOptimizationOptions:
    """SGD or AdamW with a polynomial schedule, and the augmentation."""

    epochs: int = option(30, "epochs to train", low=1)
    batch_size: int = option(16, "images of a step, in all processes together", low=2)
    optimizer: str = option("sgd", "sgd with a momentum of 0.9, or adamw", choices=("sgd", "adamw"))
    lr: float = option(0.01, "learning rate of decoder and classifier", low=0)
    encoder_lr: float = option(0.1, "learning rate of the encoder, as a share of the decoder's", low=0, high=1)
    weight_decay: float = option(5e-4, "weight decay; none on biases and other vectors", low=0)
    warmup_epochs: float = option(0.0, "epochs of linear warm-up, or a part of one", low=0)
    power: float = option(0.9, "of the schedule: the learning rate falls as (1 - share of the steps done)^POWER", low=0)
    ema_decay: float = option(
        0.0, "decay of averaged weights, which inference and validation then use, a step; 0: none", low=0, high=0.99999
    )
    train_size: int = option(0, "shorter side of a training image before it is scaled; 0: as it is", low=0, high=4096)
    scale: tuple[float, float] = option((0.5, 2.0), "range of random scaling, before the crop", low=0.1, high=10)
    jitter: float = option(0.4, "strength of random brightness, contrast and saturation; 0: none", low=0, high=1)


@dataclass(frozen=True, kw_only=True)
class MaskOptions(MaskOptimizationOptions, MaskNetworkOptions, MaskDataOptions, LoopOptions, RunOptions):
    """Options of all trainings on masks."""

    def __post_init__(self) -> None:
        check_ranges(self)
        if self.scale[0] > self.scale[1]:
            raise InputError(f"--scale takes the smaller number first, got {self.scale}")
        if self.crop_size % 32:
            raise InputError(f"--crop-size {self.crop_size} must be a multiple of 32")
        _ = self.architecture  # says what is wrong with it


@dataclass(frozen=True, kw_only=True)
class SegOptions(ValidationOptions, MaskOptions):
    """`train_seg.py`."""

    exp: str = option("seg_deeplab", "recipe that sets the defaults of the other flags")
    val_list: str = option("val", "list to validate on, a name or a file; NAME:COUNT is a fixed draw from it")
    val_from: int = option(0, "first epoch, from 0, after which the network is scored", low=0, resumable=True)


@dataclass(frozen=True, kw_only=True)
class AffinityOptions(MaskOptions):
    """`train_affinity.py`."""

    exp: str = option("aff_resnet", "recipe that sets the defaults of the other flags")
    encoder: str = option(
        "tu-resnet50", "encoder: tu- and a name of timm, or a name of segmentation-models-pytorch, such as mit_b2"
    )
    arch_options: tuple[str, ...] = option(
        ("upsampling=1",),
        "what the architecture is built with in place of its own defaults; upsampling=1: not enlarged",
    )
    epochs: int = option(8, "epochs to train", low=1)
    embed_dim: int = option(
        64, "channels of the embedding, whose differences give the affinity of two places", low=1, high=1024
    )
    stride: int = option(8, "stride in pixels of the grid on which affinities are learnt and CAMs refined", low=1, high=32)
    radius: int = option(5, "largest distance between two places of a pair, in strides", low=1, high=32)

    def __post_init__(self) -> None:
        super().__post_init__()
        places = -(-self.crop_size // self.stride)
        if self.radius > places:
            raise InputError(f"--radius {self.radius} must be at most the {places} strides of --crop-size")

    @property
    def reach(self) -> dict[str, int]:
        """Arguments of `utils.segmentation.affinity` that say which pairs of places have an affinity."""
        return {"stride": self.stride, "radius": self.radius}


@dataclass(frozen=True, kw_only=True)
class SegInferOptions(CrfSettings, WeightsOptions, MachineOptions, ExperimentOptions):
    """`infer_seg.py`. Data set, classes and network come from the run; an empty flag takes the run's value."""

    data_path: str = option("", "data set; empty: the run's")
    val_list: str = option("", "list of images, a name or a file, such as test; empty: the run's")
    infer_size: int = infer_size_option()
    infer_cap: int = option(-1, f"{SEG_CAP_HELP}; -1: the run's", low=-1, high=100_000)
    scales: tuple[float, ...] = option(
        (1.0,), "sizes that each image is seen at, times its own; their probabilities are averaged", low=0.1, high=8
    )
    mirror: bool = option(False, "look at the mirror image too")
    window: int = option(1024, "side in pixels of the sliding window for larger images", low=32, high=2**15)
    amp: str = amp_option("precision of the network: off is float32; probabilities are float32 always")
    crf: bool = option(False, "refine the probabilities with a dense CRF (needs pydensecrf2)")
    labels: bool = option(False, "give an image only classes that its labels name: masks of training images, to learn from")
    png: bool = option(False, "write masks to PNG_DIR")
    png_dir: str = png_dir_option()
    dict: bool = option(False, "write score dicts, for evaluation.py --task dl, to dl/")
    server: bool = option(
        False, "write masks in the tree that VOC's evaluation server takes, to results/VOC2012/Segmentation/comp6_<list>_cls"
    )
    overwrite: bool = option(False, "remove what other weights or options have written there, instead of refusing")

    def __post_init__(self) -> None:
        check_ranges(self)
        if not (self.png or self.dict or self.server):
            raise InputError("nothing to write: give --png, --dict or --server")
