"""Options of exporting a trained network."""

from dataclasses import dataclass
from pathlib import Path

from ..experiment import ExperimentOptions, WeightsOptions
from ..flags import check_ranges, option


@dataclass(frozen=True, kw_only=True)
class ExportOptions(WeightsOptions, ExperimentOptions):
    """`python -m tools.export`."""

    format: str = option(
        "safetensors",
        "safetensors: weights that this repository loads; torch, onnx: also a graph for images of any size (model.pt2 of"
        " torch.export, model.onnx; the latter needs requirements-export.txt)",
        choices=("safetensors", "torch", "onnx"),
    )
    out: str = option("./export", "folder of all exports: the files go to OUT/NAME")
    license: str = option(
        "",
        "licence of the weights, as the Hugging Face Hub spells it, such as mit, apache-2.0, cc-by-nc-4.0 or other; empty:"
        " that of the export that is there; unknown if there is none, and with --overwrite",
        pattern=(r"([a-z0-9][a-z0-9.+-]*)?", "a licence as the Hub spells it, such as cc-by-nc-4.0"),
    )
    overwrite: bool = option(False, "replace an export of other weights, instead of refusing")

    def __post_init__(self) -> None:
        check_ranges(self)

    @property
    def target(self) -> Path:
        """The folder that is written."""
        return Path(self.out) / self.name
