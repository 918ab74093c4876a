"""Options of `predict.py`."""

from dataclasses import dataclass

from .errors import InputError
from .experiment_options import ExperimentOptions
from .flags import check_ranges, option

AUTO = "auto"


@dataclass(frozen=True, kw_only=True)
class PredictOptions(ExperimentOptions):
    """`predict.py`. Classes and architecture come from the run."""

    image: tuple[str, ...] = option(..., "image files, and folders whose images are meant", positional=True)
    exp: str = option("", "recipe; needed only where the experiment has no options.json (default dig_eccv24)")
    device: str = option("auto", "auto takes CUDA, then MPS, then the CPU", choices=("auto", "cuda", "mps", "cpu"))
    load_epo: int = option(-1, "epoch whose ckpt/<epoch>net_trm.pth is used; -1: the last one there", low=-1)
    weights: str = option("", "weights file, instead of an epoch of the experiment")
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

    @property
    def named_labels(self) -> tuple[str, ...] | None:
        """The classes in the images, each once; None where the network is to find them."""
        if self.labels == AUTO:
            return None
        return tuple(dict.fromkeys(name.strip() for name in self.labels.split(",")))

    def __post_init__(self):
        check_ranges(self)
        if self.named_labels is not None and "" in self.named_labels:
            raise InputError(f"--labels takes auto or names with commas between, such as dog,sofa, got {self.labels!r}")
