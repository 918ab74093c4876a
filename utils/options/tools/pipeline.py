"""Options of the whole chain, from images with labels to a segmentation network."""

import shlex
from dataclasses import dataclass

from ...errors import InputError
from ..experiment import ExperimentOptions, device_option
from ..flags import check_number, check_ranges, number, option
from ..results import WALKS


@dataclass(frozen=True, kw_only=True)
class PipelineOptions(ExperimentOptions):
    """`python -m tools.pipeline`. Flags for single steps are given as --cam-flags="--epochs 4"."""

    data_path: str = option("./data/VOC2012", "data set in any layout")
    exp: str = option("dig_eccv24", "recipe of train_trm.py and its denoiser")
    seg_exp: str = option("seg_deeplab", "recipe of train_seg.py")
    denoiser: str = option("", "file of a denoiser; empty: the recipe's published one, else one is trained in NAME_denoiser")
    refine: str = option(
        "none",
        "method of tools.refine between CAMs and masks; affinity trains NAME_aff first",
        choices=("none", *WALKS),
    )
    aff_exp: str = option("aff_resnet", "recipe of train_affinity.py")
    low: float = option(0.15, "affinities learn where masks at background scores LOW and HIGH agree", low=0, high=1)
    high: float = option(0.45, "the higher background score, see --low", low=0, high=1)
    source: str = option("crf", "what masks are made of: crf: CRF scores; dict: CAMs at THRESHOLD", choices=("crf", "dict"))
    alpha: float = option(4.0, "exponent of the background for the CRF", low=0)
    threshold: str = option("best", "background score of masks of CAMs; best: by the true masks, where there are some")
    val_list: str = option("val", "images that the segmentation network is scored on")
    scales: tuple[float, ...] = option((1.0,), "sizes that the segmentation network sees them at", low=0.1, high=8)
    seed: int = option(0, "of all trainings", low=0, high=2**31 - 1)
    device: str = device_option()
    denoiser_flags: str = option("", "further flags of train_diffusion.py")
    cam_flags: str = option("", "further flags of train_trm.py")
    infer_flags: str = option("", "further flags of infer_trm.py")
    refine_flags: str = option("", "further flags of tools.refine")
    crf_flags: str = option("", "further flags of tools.crf")
    aff_flags: str = option("", "further flags of train_affinity.py")
    seg_flags: str = option("", "further flags of train_seg.py")

    def __post_init__(self) -> None:
        check_ranges(self)
        for name, value in vars(self).items():
            if name.endswith("_flags"):
                words_of(value)
        if self.threshold != "best":
            check_number("--threshold", number("--threshold", self.threshold), 0, 1)
        if self.low >= self.high:
            raise InputError(f"--low {self.low:g} must be less than --high {self.high:g}")


def words_of(flags: str) -> list[str]:
    """The words of `--cam-flags`, `--seg-flags` and so on.

    Raises:
        InputError: a quotation does not end.
    """
    try:
        return shlex.split(flags)
    except ValueError as error:
        raise InputError(f"{flags!r} are no flags: {error}") from error
