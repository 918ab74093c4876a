"""Options of inference: `infer_trm.py` for a data set, `predict.py` for single images."""

from dataclasses import dataclass, replace
from typing import Any, Self

from ..errors import InputError
from .experiment import ExperimentOptions, RunOptions, WeightsOptions, amp_option, compile_option, device_option
from .flags import check_ranges, option, show
from .results import CrfOptions, ThresholdOptions
from .tools.polygons import POLYGON_FORMATS, ToleranceOptions
from .training import CAP_HELP, DEFAULT_CAP, TrainOptions

AUTO = "auto"
USUAL = {
    "amp": "off",
    "scales": (1.0,),
    "cam_size": "full",
    "infer_cap": DEFAULT_CAP,
    "spreads": 1,
    "cam": "refined",
    "white_level": 0.0,
}
"""Values that records of CAMs leave out, since earlier versions lacked these flags."""
OF_RUN = ("cam", "white_level")
"""Those of them that the run says, not a flag of inference."""


def infer_size_option() -> Any:
    """The field of `--infer-size`."""
    return option(-1, "shorter side of an image in pixels, 0: as it is, up to INFER_CAP; -1: the run's", low=-1, high=4096)


def infer_cap_option() -> Any:
    """The field of `--infer-cap`."""
    return option(-1, f"{CAP_HELP}; -1: the run's", low=-1, high=100_000)


@dataclass(frozen=True, kw_only=True)
class NetworkOptions(WeightsOptions):
    """A trained network that is shown single images."""

    device: str = device_option()
    infer_size: int = infer_size_option()
    infer_cap: int = infer_cap_option()

    @property
    def network(self) -> dict[str, Any]:
        """Arguments of `models.load_cam_model` and `load_seg_model`, with None for what is the run's."""
        size, cap = (value if value >= 0 else None for value in (self.infer_size, self.infer_cap))
        place = {"epoch": self.epoch, "weights": self.weights or None, "device": self.device}
        return place | {"infer_size": size, "infer_cap": cap}


@dataclass(frozen=True, kw_only=True)
class InferOptions(ThresholdOptions, CrfOptions, WeightsOptions, RunOptions):
    """`infer_trm.py`. Data set, classes and architecture come from the run; an empty flag takes the run's value."""

    exp: str = option("", "recipe; needed only where the experiment has no options.json (default dig_eccv24)")
    data_path: str = option("", "data set; empty: the run's")
    val_list: str = option("", "list of images, a name or a file; empty: the run's")
    infer_size: int = infer_size_option()
    infer_cap: int = infer_cap_option()
    overwrite: bool = option(False, "remove what other weights or options have written there, instead of refusing")
    amp: str = amp_option("precision of the network: off is float32; CAMs are normalised in float32 always")
    compile: bool = compile_option()
    batch_size: int = option(1, "images of one size that go through the network together", low=1, high=4096)
    scales: tuple[float, ...] = option(
        (),
        "sizes that each image is seen at, relative to INFER_SIZE; their CAMs are summed, then normalised; empty: the run's",
        low=0.1,
        high=8,
    )
    spreads: int = option(0, "how often patch attention spreads the maps; 0: as the run says", low=0, high=16)
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

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (self.dict or self.vis or self.crf or self.png != "none"):
            raise InputError("nothing to write: give --dict, --vis or --crf, or --png threshold or crf")
        if self.cam_size == "patch" and len(self.scales) > 1:
            raise InputError(f"--cam-size patch takes one of --scales, got {show(self.scales)}: their grids differ")
        if self.png == "crf" and len(self.alphas) > 2:
            raise InputError(f"--png crf takes one of --alphas or two, got {show(self.alphas)}")
        if self.png == "threshold":
            _ = self.thresholds  # raises InputError if they are invalid
        else:
            self.require_no_threshold("--png threshold")

    def of_run(self, run: TrainOptions) -> Self:
        """These options, with the run's values for those that were not given."""
        return replace(
            self,
            infer_size=run.infer_size if self.infer_size < 0 else self.infer_size,
            infer_cap=run.infer_cap if self.infer_cap < 0 else self.infer_cap,
            scales=self.scales or run.infer_scales,
            spreads=self.spreads or run.spreads,
        )

    @property
    def uses_crf(self) -> bool:
        """Whether any requested output needs the CRF."""
        return self.crf or self.png == "crf"


@dataclass(frozen=True, kw_only=True)
class PredictOptions(ToleranceOptions, NetworkOptions, ExperimentOptions):
    """`predict.py`. Classes and architecture come from the run."""

    image: tuple[str, ...] = option(..., "image files, and folders whose images are meant", positional=True)
    exp: str = option("", "recipe; needed only where the experiment has no options.json (default dig_eccv24)")
    data_path: str = option("", "data set that names the classes; needed only where the experiment has no options.json")
    labels: str = option(
        AUTO, "classes in the images, with commas between; auto: those that the network itself finds in each of them"
    )
    label_threshold: float = option(0.5, "probability from which --labels auto takes a class to be there", low=0, high=1)
    threshold: float = option(
        -1.0,
        "background score of the masks, from 0 to 1; -1: the best that evaluation.py has found for the experiment, else 0.4",
        low=-1,
        high=1,
    )
    out: str = option("predictions", "folder that masks and pictures go to; those of the same names are replaced")
    export: tuple[str, ...] = option(
        (),
        "polygons of the masks too, coco: annotations.json for all images; labelme: a file beside each mask",
        choices=POLYGON_FORMATS,
    )

    @property
    def named_labels(self) -> tuple[str, ...] | None:
        """The classes in the images, without duplicates; None if the network is to find them."""
        if self.labels == AUTO:
            return None
        return tuple(dict.fromkeys(name.strip() for name in self.labels.split(",")))

    def __post_init__(self) -> None:
        check_ranges(self)
        if self.named_labels is not None and "" in self.named_labels:
            raise InputError(f"--labels takes auto or names with commas between, such as dog,sofa, got {self.labels!r}")
