"""Options of the page on which an experiment is tried on photographs."""

from dataclasses import dataclass

from ..experiment import ExperimentOptions
from ..flags import check_ranges, option
from ..inference import NetworkOptions


@dataclass(frozen=True, kw_only=True)
class AppOptions(NetworkOptions, ExperimentOptions):
    """`python -m tools.app`. Classes and architecture come from the run."""

    exp: str = option("", "recipe; needed only where the experiment has no options.json (default dig_eccv24)")
    data_path: str = option(
        "", "data set that the examples are from, and the classes without options.json; empty: the run's"
    )
    seg: str = option("", "experiment of train_seg.py whose masks are shown too; empty: NAME_seg where it is there")
    examples: int = option(6, "images of the data set that are offered as examples", low=0, high=24)
    max_megapixels: float = option(40.0, "largest photograph that is taken, in megapixels", low=0.01, high=178)
    max_mb: float = option(30.0, "largest file that is taken, in MB", low=0.01, high=1000)
    host: str = option(
        "127.0.0.1", "address that the page is served at; 127.0.0.1 is this machine alone, 0.0.0.0 its network"
    )
    port: int = option(7860, "port that the page is served at; 0: the first free one from 7860 on", low=0, high=65535)

    def __post_init__(self) -> None:
        check_ranges(self)
