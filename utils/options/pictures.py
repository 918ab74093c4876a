"""Options of commands that show what networks do: animations of CAMs, denoised photographs."""

from dataclasses import dataclass

from ..errors import InputError
from .experiment import ExperimentOptions, device_option
from .flags import check_ranges, option, show

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
        if len(self.images) > MOST_IMAGES:
            raise InputError(f"--images takes {MOST_IMAGES} at most, got {len(self.images)}")
        if len(set(self.images)) < len(self.images):
            raise InputError(f"--images must all differ, got {show(self.images)}")
        if self.out and not self.out.lower().endswith((".webp", ".gif")):
            raise InputError(f"--out must end in .webp or .gif, got {self.out!r}")


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
        if len(set(self.steps)) < len(self.steps):
            raise InputError(f"--steps must all differ, got {show(self.steps)}")
        if self.image_size % 8:
            raise InputError(f"--image-size must be a multiple of 8, got {self.image_size}")
