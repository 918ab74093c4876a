"""Options of commands that show what networks do: animations of CAMs, the parts of a network, denoised photographs."""

from collections.abc import Sequence
from dataclasses import dataclass

from ...errors import InputError
from ..experiment import ExperimentOptions, device_option
from ..flags import check_ranges, option, show
from ..results import CrfSettings

MOST_IMAGES = 12
"""Images of an animation; more are too small to see."""


@dataclass(frozen=True, kw_only=True)
class AnimateOptions(ExperimentOptions):
    """`python -m tools.animate`. Data set, classes and architecture come from the run."""

    images: tuple[str, ...] = option((), f"ids of the images shown, {MOST_IMAGES} at most; empty: --count of --val-list")
    count: int = option(4, "images shown, evenly spaced among those of the list that have labels", low=1, high=MOST_IMAGES)
    data_path: str = option("", "data set; empty: the run's")
    val_list: str = option("", "list of images, a name or a file; empty: the run's")
    out: str = option("", "file to write, .webp or .gif; empty: cams.webp in the experiment, which the report shows")
    device: str = device_option()

    def __post_init__(self) -> None:
        check_ranges(self)
        require_different("--images", self.images)
        if self.out and not self.out.lower().endswith((".webp", ".gif")):
            raise InputError(f"--out must end in .webp or .gif, got {self.out!r}")


@dataclass(frozen=True, kw_only=True)
class TourOptions(CrfSettings, ExperimentOptions):
    """`python -m tools.tour`. Data set, classes and architecture come from the run."""

    images: tuple[str, ...] = option((), f"ids of the images shown, {MOST_IMAGES} at most; empty: --count of --val-list")
    count: int = option(2, "images shown, evenly spaced among those of the list that have labels", low=1, high=MOST_IMAGES)
    data_path: str = option("", "data set; empty: the run's")
    val_list: str = option("", "list of images, a name or a file; empty: the run's")
    thresholds: tuple[float, ...] = option((0.2, 0.4, 0.6), "background scores of the masks of CAMs", low=0, high=1)
    alphas: tuple[float, ...] = option(
        (1.0, 2.0, 4.0),
        "exponents of the background score (1 - max CAM)^alpha in the CRF: a larger one, less background",
        low=0,
    )
    out: str = option("", "folder to write to; empty: tour/ in the experiment")
    device: str = device_option()

    def __post_init__(self) -> None:
        check_ranges(self)
        require_different("--images", self.images)
        require_different("--thresholds", self.thresholds)
        require_different("--alphas", self.alphas)


@dataclass(frozen=True, kw_only=True)
class DenoisedOptions:
    """`python -m tools.denoised`."""

    weights: str = option(..., "the denoiser's file")
    data: str = option(..., "folder of photographs, searched with its sub-folders; best such as the denoiser has not seen")
    list: str = option("", "file of image ids: only these photographs of --data count; empty: all")
    count: int = option(32, "photographs that are scored, evenly spaced among them", low=1, high=4096)
    steps: tuple[int, ...] = option(
        (10, 50, 100, 200, 400), "diffusion steps whose noise is added and removed", low=0, high=999
    )
    image_size: int = option(
        0,
        "side of the squares in pixels; 0: what the recipe that looks for this file trains it at, else 224",
        low=0,
        high=2048,
    )
    rows: int = option(4, "photographs in the picture", low=1, high=32)
    samples: int = option(8, "images drawn from pure noise; 0: none", low=0, high=64)
    sample_steps: int = option(50, "network passes for these", low=1, high=1000)
    seed: int = option(0, "seed of crops and noise", low=0, high=2**31 - 1)
    out: str = option("denoised", "folder that scores and pictures go to; those of the same names are replaced")
    device: str = device_option()

    def __post_init__(self) -> None:
        check_ranges(self)
        require_different("--steps", self.steps)
        if self.image_size % 8:
            raise InputError(f"--image-size must be a multiple of 8, got {self.image_size}")


def require_different(flag: str, values: Sequence[object]) -> None:
    """Raises InputError if a flag has more than `MOST_IMAGES` values, or equal ones."""
    if len(values) > MOST_IMAGES:
        raise InputError(f"{flag} takes {MOST_IMAGES} at most, got {len(values)}")
    if len(set(values)) < len(values):
        raise InputError(f"{flag} must all differ, got {show(values)}")
