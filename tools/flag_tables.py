"""Tables of all flags, from the options themselves: python -m tools.flag_tables writes docs/flags.md."""

import argparse
import dataclasses
from pathlib import Path

from utils.files import whole_file
from utils.options.data import PrepareCocoOptions, PrepareVocOptions, ShardOptions, ToyOptions
from utils.options.flags import show, spelling
from utils.options.inference import InferOptions, PredictOptions
from utils.options.recipes import RECIPES
from utils.options.results import (
    BoundsOptions,
    CrfFilesOptions,
    EvaluationOptions,
    PseudoMaskOptions,
    RefineOptions,
    ReportOptions,
)
from utils.options.seg_recipes import AFFINITY_RECIPES, SEG_RECIPES
from utils.options.segmentation import AffinityOptions, SegInferOptions, SegOptions
from utils.options.tools.app import AppOptions
from utils.options.tools.backbones import BackboneOptions
from utils.options.tools.export import ExportOptions
from utils.options.tools.pictures import AnimateOptions, DenoisedOptions, TourOptions
from utils.options.tools.pipeline import PipelineOptions
from utils.options.tools.polygons import PolygonOptions
from utils.options.training import DenoiserOptions, TrainOptions

COMMANDS = {
    "train_trm.py": TrainOptions,
    "train_diffusion.py": DenoiserOptions,
    "infer_trm.py": InferOptions,
    "train_seg.py": SegOptions,
    "infer_seg.py": SegInferOptions,
    "train_affinity.py": AffinityOptions,
    "evaluation.py": EvaluationOptions,
    "predict.py": PredictOptions,
    "-m tools.bounds": BoundsOptions,
    "-m tools.crf": CrfFilesOptions,
    "-m tools.refine": RefineOptions,
    "-m tools.masks": PseudoMaskOptions,
    "-m tools.polygons": PolygonOptions,
    "-m tools.pipeline": PipelineOptions,
    "-m tools.report": ReportOptions,
    "-m tools.animate": AnimateOptions,
    "-m tools.tour": TourOptions,
    "-m tools.denoised": DenoisedOptions,
    "-m tools.export": ExportOptions,
    "-m tools.app": AppOptions,
    "-m tools.backbones": BackboneOptions,
    "-m datasets.toy": ToyOptions,
    "-m datasets.prepare coco": PrepareCocoOptions,
    "-m datasets.prepare voc": PrepareVocOptions,
    "-m datasets.shards": ShardOptions,
}
PAGE = Path(__file__).parents[1] / "docs" / "flags.md"
SMALL = ("dig_lite", "dig_nano", "dig_toy")
COLUMNS = {
    TrainOptions: {name: RECIPES[name].train for name in SMALL},
    DenoiserOptions: {name: RECIPES[name].denoiser for name in SMALL},
    SegOptions: {name: SEG_RECIPES[name].train for name in ("seg_vit", "seg_lite", "seg_toy")},
    AffinityOptions: {name: AFFINITY_RECIPES[name].train for name in ("aff_lite", "aff_toy")},
}
"""Recipes whose values stand beside the defaults, by the options of a training script."""
INTRODUCTION = """# All flags

Flags may be spelt with `-` or `_`. `--exp` picks a recipe; the values of some stand beside the defaults, those for COCO on
the pages [recipes](recipes.md) and [segmentation](segmentation.md#recipes). A flag given on the command line wins.
`train_trm_coco.py` has the flags of `train_trm.py`, with `dig_coco_eccv24` as its recipe. This page is written by
`python -m tools.flag_tables`.
"""


def flag_table(cls: type) -> str:
    """A Markdown table of one command's flags, with the values that some recipes put in place of the defaults."""
    recipes = COLUMNS.get(cls, {})
    head = ["flag", "default", *(f"`{name}`" for name in recipes), "meaning"]
    rows = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for f in dataclasses.fields(cls):
        if f.default is dataclasses.MISSING:
            default = "required"
        elif f.type is bool:
            default = "off"
        else:
            default = f"`{show(f.default)}`" if f.default not in ("", ()) else ""
        choices = f" ({', '.join(f.metadata['choices'])})" if f.metadata["choices"] else ""
        meaning = f.metadata["help"].replace("<", "\\<") + choices  # Markdown would take <epoch> for a tag
        others = [f"`{show(values[f.name])}`" if f.name in values else "" for values in recipes.values()]
        rows.append(f"| `{spelling(f)}` | " + " | ".join([default, *others, meaning]) + " |")
    if recipes:
        resumable = [f"`{spelling(f)}`" for f in dataclasses.fields(cls) if f.metadata["resumable"]]
        rows += ["", f"A resumed run may change {', '.join(resumable)}."]
    return "\n".join(rows)


def page() -> str:
    """The text of docs/flags.md."""
    parts = [f"\n## python {command}\n\n{flag_table(cls)}\n" for command, cls in COMMANDS.items()]
    return INTRODUCTION + "".join(parts)


if __name__ == "__main__":
    argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0]).parse_args()
    with whole_file(PAGE) as file:
        file.write(page().encode())
