"""Options of commands that turn masks into polygons."""

from dataclasses import dataclass

from ..experiment import ExperimentOptions
from ..flags import check_ranges, option

TOLERANCE = 1.0
"""Largest distance in pixels of a simplified outline from the true one."""
POLYGON_FORMATS = ("coco", "labelme")


@dataclass(frozen=True, kw_only=True)
class ToleranceOptions:
    """How closely polygons follow masks."""

    tolerance: float = option(
        TOLERANCE,
        "how far polygons may be from the masks' outlines, in pixels: more gives fewer corners; 0: every pixel as it is",
        low=0,
        high=100,
    )


@dataclass(frozen=True, kw_only=True)
class PolygonOptions(ToleranceOptions, ExperimentOptions):
    """`python -m tools.polygons`. Data set and classes come from the run."""

    png_dir: str = option("png", "masks: a folder in the experiment, or a path")
    format: str = option(
        "coco", "coco: annotations.json for all images; labelme: a file for each image", choices=POLYGON_FORMATS
    )
    data_path: str = option("", "data set; empty: the run's")
    out: str = option("", "folder that the files go to; empty: FORMAT in the experiment")
    overwrite: bool = option(False, "replace files that are there, with all that was edited in them")

    def __post_init__(self) -> None:
        check_ranges(self)
