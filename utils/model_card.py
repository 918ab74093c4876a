"""The model card of an exported network: README.md with the header that the Hugging Face Hub reads."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from .experiment.exported import ExportedConfig

UNKNOWN = "unknown"
"""The licence of weights of which nobody said one."""
TITLES = {
    "cam": "Class activation maps from image-level labels (DiG)",
    "seg": "Segmentation network trained on masks",
}
WHAT = {
    "cam": (
        "For an image and the names of what is in it, the network gives a map in [0, 1] of where each of them is. It was "
        "trained with `train_trm.py` on image-level labels alone."
    ),
    "seg": (
        "For an image, the network gives a mask: 0 background, then the classes in their order. It was trained with "
        "`train_seg.py`."
    ),
}
USE = {
    "cam": """from models import CamModel, load_cam_model

model = load_cam_model("{place}")  # or CamModel.from_pretrained("USER/{name}") from the Hub
cams = model.cam("image.jpg", ["{label}"])  # {{"{label}": (H, W) float32}}""",
    "seg": """from models import SegModel, load_seg_model

model = load_seg_model("{place}")  # or SegModel.from_pretrained("USER/{name}") from the Hub
mask = model.mask("image.jpg")  # (H, W) uint8""",
}
RECIPE = {
    "cam": ("exp", "epochs", "batch_size", "lr", "input_size", "W", "seed"),
    "seg": ("exp", "epochs", "batch_size", "lr", "optimizer", "crop_size", "seed"),
}
"""Options of a training that the card lists."""


@dataclass(frozen=True)
class Score:
    """A score of the network."""

    metric: str  # such as mIoU
    value: float  # in percent
    images: str  # list that was scored
    source: str  # what it is a score of


def model_card(
    config: ExportedConfig,
    run: Any,
    name: str = "",
    license: str = UNKNOWN,
    scores: Sequence[Score] = (),
    data: str = "",
) -> str:
    """The text of a model card.

    Args:
        config: configuration of the exported network.
        run: options of its training; those that an exported folder does not know are left at their defaults.
        name: name of the network; empty: the run's.
        license: licence of the weights, as the Hub spells it, such as mit or cc-by-nc-4.0.
        scores: known scores.
        data: name of the training data; empty: unknown, and the recipe is left out.
    """
    name = name or run.name
    header = ModelCardData(
        license=license,
        library_name="pytorch",
        pipeline_tag="image-segmentation",
        tags=["weakly-supervised-semantic-segmentation" if config.kind == "cam" else "semantic-segmentation", "dig"],
        model_name=name if scores else None,
        eval_results=[eval_result(score, data) for score in scores] or None,
    )
    parts = [f"---\n{header.to_yaml()}\n---", f"# {name}: {TITLES[config.kind]}", WHAT[config.kind]]
    parts += ["## Use", "From a checkout of the code that this folder was made with:"]
    parts.append(f"```python\n{USE[config.kind].format(place=f'export/{name}', name=name, label=config.classes[0])}\n```")
    parts += ["## Classes", ", ".join(config.classes)]
    if data:
        parts += ["## Training", "\n".join(recipe_rows(config, run, data))]
    parts += ["## Scores", "\n".join(score_rows(scores)) if scores else "None are recorded."]
    parts += ["## Licence", f"Of these weights: {license}. Pretrained weights and data have licences of their own."]
    return "\n\n".join(parts) + "\n"


def licence_in(card: Path) -> str:
    """The licence that a card's header names; `UNKNOWN` if there is no such card."""
    try:
        header = card.read_text(encoding="utf-8").partition("\n---")[0]
    except (OSError, UnicodeDecodeError):
        return UNKNOWN
    named = re.search(r"^license: (\S+)$", header, re.MULTILINE)
    return named[1] if named else UNKNOWN


def eval_result(score: Score, data: str) -> EvalResult:
    """A score as the Hub lists it."""
    return EvalResult(
        task_type="image-segmentation",
        dataset_type="custom",
        dataset_name=f"{data} {score.images}".strip(),
        metric_type="mean_iou" if score.metric == "mIoU" else score.metric.lower(),
        metric_name=f"{score.metric} of {score.source}",
        metric_value=round(score.value, 2),
    )


def recipe_rows(config: ExportedConfig, run: Any, data: str) -> list[str]:
    """A table of the data and the recipe."""
    network = (run.backbone or "DeiT") if config.kind == "cam" else f"{run.arch} on {run.encoder}"
    values = {
        "data": data,
        "network": network,
        **{f"`--{o.replace('_', '-')}`": getattr(run, o) for o in RECIPE[config.kind]},
    }
    if config.kind == "cam" and run.stem:
        values["stem"] = run.stem
    if config.kind == "seg":
        values["masks"] = run.masks if run.masks == "truth" else f"pseudo-masks, {Path(run.masks).name}"
    return ["| | |", "|---|---|", *(f"| {what} | {shown(value)} |" for what, value in values.items())]


def shown(value: Any) -> str:
    """A value in a table."""
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def score_rows(scores: Sequence[Score]) -> list[str]:
    """A table of scores."""
    rows = [f"| {score.source} | {score.images} | {score.metric} | {score.value:.2f} |" for score in scores]
    return ["| of | images | score | % |", "|---|---|---|---|", *rows]
