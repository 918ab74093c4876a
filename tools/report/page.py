"""The whole page of a report, from an experiment's findings."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from utils.options.flags import make_options
from utils.options.recipes import recipe
from utils.options.training import TrainOptions

from .history import Curve
from .markup import Element, document, tag
from .scoring import ImageScores
from .sections import (
    class_section,
    growth_section,
    headline,
    image_section,
    left_out,
    loss_section,
    option_section,
    progress_section,
    threshold_section,
)

CAM_SECTIONS = {"classes": "Each class", "threshold": "The threshold", "images": "Images"}


@dataclass(frozen=True)
class CamFindings:
    """Results of an experiment's CAM files."""

    folder: str
    images: str  # list of the images
    classes: Sequence[str]  # without background
    scores: ImageScores | str  # or why there are none
    masks: Mapping[str, float | None]  # mIoU of other masks by heading, such as a CRF's; None if some are missing
    gallery: Sequence[Element]
    threshold: float  # background score in the masks from the CAMs
    threshold_from: str  # source of the threshold, in words


@dataclass(frozen=True)
class Findings:
    """The findings about an experiment."""

    run: TrainOptions
    recorded: bool  # whether there is an options.json; else `run` holds the recipe's options
    classes: Sequence[str]  # without background; empty if unknown
    losses: Mapping[str, Curve]
    progress: Mapping[int, Mapping[str, float]]  # see `history.read_progress`
    unscored: str  # why CAMs cannot be scored; empty if they can
    animation: bytes  # WebP of the CAMs over the epochs; empty if there is none
    cams: CamFindings | str  # or why there are none


def build_page(found: Findings) -> bytes:
    """The report as one HTML file in UTF-8."""
    growth = [growth_section(found.animation)] if found.animation else []
    sections = [*training_sections(found), *growth, *cam_sections(found.cams), options_of(found)]
    links = [tag("li", tag("a", part.findtext("h2", ""), href=f"#{part.get('id')}")) for part in sections]
    contents = tag("nav", tag("ul", *links), aria_label="Contents")
    top = headline(found.run.name, summary(found), facts(found))
    return document(f"{found.run.name}: report", top, contents, tag("main", *sections))


def training_sections(found: Findings) -> list[Element]:
    """Losses, and mIoU over the epochs."""
    command = f"python train_trm.py {name_flags(found.run)}"
    losses = (
        loss_section(found.losses)
        if found.losses
        else left_out("losses", "Losses", f"log.txt tells of no losses: training writes it ({command}).")
    )
    scored = (
        progress_section(found.progress, found.run.val_list)
        if found.progress
        else left_out(
            "progress",
            "Scores during training",
            f"No epoch has been scored. {found.unscored}"
            if found.unscored
            else f"No epoch has been scored: training does that from the epoch that --val-from names ({command}).",
        )
    )
    return [losses, scored]


def cam_sections(cams: CamFindings | str) -> list[Element]:
    """Classes, threshold and single images."""
    if isinstance(cams, str):
        return [left_out(key, heading, cams) for key, heading in CAM_SECTIONS.items()]
    images = image_section(cams.gallery, cams.threshold, cams.threshold_from, not isinstance(cams.scores, str))
    if isinstance(cams.scores, str):
        missing = [left_out(key, CAM_SECTIONS[key], cams.scores) for key in ("classes", "threshold")]
        return [*missing, images]
    return [class_section(cams.scores.together, cams.classes), threshold_section(cams.scores.together), images]


def options_of(found: Findings) -> Element:
    """The section on options; says so if there is no options.json."""
    run = found.run
    if not found.recorded:
        return left_out("options", "Options", "options.json is missing: it is train_trm.py that writes it.")
    kept = {"name": run.name, "exp": run.exp, "experiments": run.experiments}
    return option_section(run, make_options(TrainOptions, {**recipe(run.exp).train, **kept}))


def summary(found: Findings) -> str:
    """A sentence or two about the run."""
    things = f"{len(found.classes)} classes of things" if found.classes else "things"
    text = f"A network that learns to mark {things} in images when told no more than what each image shows (DiG). "
    if found.recorded:
        text += f"Recipe {found.run.exp}: {recipe(found.run.exp).summary}. Data set {found.run.data_path}."
    return text


def facts(found: Findings) -> list[tuple[str, str]]:
    """The most important numbers, each with its meaning."""
    result = []
    if not isinstance(found.cams, str) and not isinstance(found.cams.scores, str):
        scores = found.cams.scores
        miou = float(scores.together.miou[scores.together.best])
        result.append((f"{miou:.2f} %", f"mIoU of the seeds from {found.cams.folder}/; 100\u00a0% is perfect"))
        result.append((f"{scores.threshold:.2f}", "the threshold that suits their CAMs best"))
        result += [
            (f"{value:.2f} %", f"mIoU of the same images' {name}")
            for name, value in found.cams.masks.items()
            if value is not None
        ]
        result.append((f"{len(scores.each)}", f"images scored: {found.cams.images}"))
    elif found.progress:
        epoch = max(found.progress)
        last = found.progress[epoch]
        result.append((f"{last['miou']:.2f} %", f"mIoU of the seeds after epoch {epoch}; 100\u00a0% is perfect"))
        result.append((f"{last['threshold']:.2f}", "the threshold that suited their CAMs best"))
    if found.losses:
        trained = found.losses["total"][-1][0]
        result.append((f"{trained:.3g}", f"epochs trained, of {found.run.epochs}"))
    return result


def name_flags(run: TrainOptions) -> str:
    """`--name NAME`, with `--experiments` if that is not the default."""
    place = "" if run.experiments == TrainOptions.experiments else f" --experiments {shlex.quote(run.experiments)}"
    return f"--name {shlex.quote(run.name)}{place}"
