"""Options of commands that process CAMs: CRF, pseudo-masks, evaluation, report."""

import dataclasses
from dataclasses import dataclass
from typing import Any

from ..errors import InputError
from .experiment import EpochOptions, ExperimentOptions, device_option
from .flags import check_ranges, option, show

WALKS = ("pamr", "attention", "affinity")
"""Methods of `tools.refine`."""


def png_dir_option() -> Any:
    """The field of `--png-dir`, where masks are written."""
    others = "ckpt|coco|crf|dict.*|dl|labelme|masks|results|samples|tour|vis"
    free_name = (rf"(?!({others})$)[^/]*[^/.][^/]*", "a plain name, and none that an experiment uses for other files")
    return option("png", "folder in the experiment that the masks go to", pattern=free_name)


@dataclass(frozen=True, kw_only=True)
class CrfSettings:
    """The dense CRF; the settings usual in this field are the defaults."""

    iterations: int = option(10, "mean-field iterations of the CRF", low=1, high=1000)
    gaussian_sxy: float = option(3.0, "reach of the smoothness term in pixels", low=0.1, high=1000)
    gaussian_weight: float = option(3.0, "weight of the smoothness term", low=0)
    bilateral_sxy: float = option(80.0, "reach of the colour term in pixels", low=0.1, high=1000)
    bilateral_srgb: float = option(13.0, "reach of the colour term in grey levels, of 255", low=0.1, high=255)
    bilateral_weight: float = option(10.0, "weight of the colour term", low=0)

    @property
    def crf_settings(self) -> dict[str, float]:
        """The CRF's settings by name."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(CrfSettings)}


@dataclass(frozen=True, kw_only=True)
class CrfOptions(CrfSettings):
    """The dense CRF on CAMs, which have no score for the background."""

    alphas: tuple[float, ...] = option(
        (4.0, 8.0), "exponents of the background score (1 - max CAM)^alpha: a larger one, less background", low=0
    )

    def __post_init__(self) -> None:
        check_ranges(self)
        if len({f"{alpha:g}" for alpha in self.alphas}) < len(self.alphas):
            raise InputError(f"--alphas must all differ, got {show(self.alphas)}")


@dataclass(frozen=True, kw_only=True)
class ThresholdOptions:
    """The background score in pseudo-masks of CAMs."""

    threshold: str = option(
        "best",
        "background score in masks of CAMs, 0 to 1; best: the one that evaluation.py --task cam has found for these CAMs",
    )
    low: float = option(
        -1.0,
        "with --high, in place of --threshold: what has the same label at both is certain, the rest 255; -1: not used",
        low=-1,
        high=1,
    )
    high: float = option(-1.0, "see --low", low=-1, high=1)

    @property
    def thresholds(self) -> tuple[float, ...]:
        """One threshold, or two in ascending order; empty for `--threshold best`.

        Raises:
            InputError: a threshold is no score in [0, 1], or the flags exclude each other.
        """
        if self.low >= 0 or self.high >= 0:
            if self.threshold != "best":
                raise InputError("--threshold and --low with --high exclude each other")
            if not 0 <= self.low < self.high:
                raise InputError(f"--low and --high take two scores, 0 <= LOW < HIGH, got {self.low:g} and {self.high:g}")
            return (self.low, self.high)
        if self.threshold == "best":
            return ()
        try:
            threshold = float(self.threshold)
        except ValueError:
            threshold = -1.0
        if not 0 <= threshold <= 1:
            raise InputError(f"--threshold takes best or a number from 0 to 1, got {self.threshold!r}")
        return (threshold,)

    def require_no_threshold(self, unless: str) -> None:
        """Raises InputError if a threshold is given although no mask of thresholded CAMs is made."""
        if self.threshold != "best" or self.low >= 0 or self.high >= 0:
            raise InputError(f"--threshold, --low and --high are for masks of thresholded CAMs: they need {unless}")


@dataclass(frozen=True, kw_only=True)
class CamsOptions(ExperimentOptions):
    """Options shared by the tools that read an experiment's CAMs. Data set and classes come from the run."""

    exp: str = option("", "recipe; needed only where the experiment has no options.json (default dig_eccv24)")
    data_path: str = option("", "data set; empty: the run's")
    val_list: str = option("", "list of images, a name or a file; empty: the run's")
    dict_dir: str = option("dict", "CAM dicts: a folder in the experiment, or a path")
    num_workers: int = option(-1, "processes, at least 1; -1: one per core; results are the same", low=-1, high=256)


@dataclass(frozen=True, kw_only=True)
class BoundsOptions(CamsOptions):
    """`python -m tools.bounds`."""

    def __post_init__(self) -> None:
        check_ranges(self)


@dataclass(frozen=True, kw_only=True)
class FilesOptions(CamsOptions):
    """Options shared by the tools that write a file for each image of an experiment's CAMs."""

    overwrite: bool = option(False, "remove what was made otherwise, instead of refusing")


@dataclass(frozen=True, kw_only=True)
class CrfFilesOptions(CrfOptions, FilesOptions):
    """`python -m tools.crf`."""


@dataclass(frozen=True, kw_only=True)
class RefineOptions(EpochOptions, FilesOptions):
    """`python -m tools.refine`."""

    method: str = option(
        "pamr",
        "what carries a CAM from pixel to pixel: pamr: like colours nearby; attention: that of the run's transformer;"
        " affinity: what train_affinity.py has learnt",
        choices=WALKS,
    )
    affinity: str = option("", "run of train_affinity.py; empty: NAME_aff")
    steps: int = option(0, "steps of the walk; 0: 10 for pamr, 2 for attention, 256 for affinity", low=0, high=10**4)
    power: float = option(0.0, "exponent of attention or affinities; 0: 2 for attention, 8 for affinity", low=0, high=100)
    scale: float = option(
        1.0, "size at which pamr sees image and CAMs, of the image's; 0.5 takes a fraction of the time", low=0.05, high=1
    )
    device: str = device_option()

    def __post_init__(self) -> None:
        check_ranges(self)


@dataclass(frozen=True, kw_only=True)
class PseudoMaskOptions(ThresholdOptions, FilesOptions):
    """`python -m tools.masks`."""

    source: str = option(
        "dict", "dict: of CAMs, by --threshold; crf: of the scores in crf/<alpha>/", choices=("dict", "crf")
    )
    alphas: tuple[float, ...] = option(
        (),
        "crf/<alpha> that --source crf takes: one labels every pixel, two only where they agree, the rest 255; empty: all",
        low=0,
    )

    png_dir: str = png_dir_option()

    def __post_init__(self) -> None:
        check_ranges(self)
        if len(self.alphas) > 2:
            raise InputError(f"--source crf takes one of --alphas or two, got {show(self.alphas)}")
        if self.source == "crf":
            self.require_no_threshold("--source dict")
        else:
            _ = self.thresholds  # raises InputError if they are invalid
            if self.alphas:
                raise InputError("--alphas name CRF scores: they need --source crf")


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

    def __post_init__(self) -> None:
        check_ranges(self)


@dataclass(frozen=True, kw_only=True)
class ReportOptions(ExperimentOptions):
    """`python -m tools.report`. Data set and classes come from the run; an empty flag takes the run's value."""

    dict_dir: str = option("dict", "CAM dicts: a folder in the experiment, or a path")
    data_path: str = option("", "data set; empty: the run's")
    list: str = option("", "images to score, a name or a file; empty: the run's validation list")
    images: int = option(3, "images shown of each group: the worst, the median and the best", low=1, high=20)
    seg: str = option("", "masks of a segmentation network to show beside those of CAMs and CRF: a folder of indexed PNGs")
    picture: str = option(
        "", "file of the pictures alone, .png, or .jpg of at most 400 KB; empty: report.png beside the page"
    )
    rows: int = option(0, "images in the picture, of all groups together; 0: all that the page shows", low=0, high=60)
    out: str = option("", "file to write; empty: report.html in the experiment")
    num_workers: int = option(-1, "processes, at least 1; -1: one per core", low=-1, high=256)

    def __post_init__(self) -> None:
        check_ranges(self)
        if self.picture and not self.picture.lower().endswith((".png", ".jpg", ".jpeg")):
            raise InputError(f"--picture must end in .png or .jpg, got {self.picture!r}")
