"""The sections of a report, each with an explanation in plain words."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from utils.options.flags import flag_name, show
from utils.options.training import TrainOptions
from utils.scoring.metrics import Scores

from .charts import Mark, Points, bar_chart, line_chart, nice_ticks, x_axis, y_axis
from .gallery import data_address
from .history import Curve
from .markup import Content, Element, table, tag

LOSSES = {
    "total": "The sum of the losses below, which training makes small. It can rise when a loss begins, and with pred_diff.",
    "cls": "Does the network name what is in the picture?",
    "pred_diff": (
        "Does the branch that sees with the diffusion model's help name what is in the picture, as the transformer does? "
        "It can rise although all goes well: at first the transformer's answers are nearly the same for every class, and "
        "easy to match; the sharper they become, the more there is to match."
    ),
    "cam_consistency": "Do the transformer's maps agree with those drawn with the diffusion model's help?",
    "cls_diff": "Does it name what is in the picture after the diffusion model has denoised it?",
    "rcams_consistency": "Are the maps of the picture and of its denoised copy the same?",
}
MEASURES = {
    "miou": ("mIoU", "How well do seeds match the true masks, at the threshold that suits them best?"),
    "map": ("mAP", "How well does the network name what is in an image?"),
}
"""The measures of `experiment.SCORES` that are shown."""
ROWS_OF_A_CHART = 12
MOST_CHARTS = 3
LEAST_POINTS = 10
"""Smallest span of a score's axis in percentage points: a smaller one would exaggerate chance differences."""
HEADROOM = 0.15
"""Share of a chart that is left free above its line for the text of a mark."""
NOT_IN_TRUTH = "not in the truth"

TERMS = (
    (
        "Class activation map (CAM)",
        "The network is told which things are in a picture, never where. What it has learned shows where it looked: for "
        "each of those things it gives every pixel a score from 0 to 1. This heat map is the CAM.",
    ),
    (
        "Seed",
        "Where a CAM exceeds a threshold, the pixel is taken for that thing; the rest is background. This rough mask, which "
        "nobody had to draw, is the seed that an ordinary segmentation network can learn from.",
    ),
    (
        "IoU and mIoU",
        "Of all pixels that the seed or the true mask gives to a class, the share on which both agree. mIoU is its mean "
        "over all classes and the background: 100 % is perfect. True masks serve for this only, never for training.",
    ),
)


def section(key: str, heading: str, *content: Content) -> Element:
    """A part of the page with an anchor for links."""
    return tag("section", tag("h2", heading, id=f"{key}-heading"), *content, id=key, aria_labelledby=f"{key}-heading")


def left_out(key: str, heading: str, reason: str) -> Element:
    """A section whose data are missing: one sentence on how to make them."""
    return section(key, heading, tag("p", reason, class_="missing"))


def headline(name: str, summary: str, facts: Sequence[tuple[str, str]]) -> Element:
    """The top of the page: name, summary, the most important numbers, and explanations of terms.

    Args:
        name: name of the experiment.
        summary: a sentence about the run.
        facts: pairs of a number and its meaning.
    """
    tiles = [tag("div", tag("dt", meaning), tag("dd", number)) for number, meaning in facts]
    terms = [tag("div", tag("dt", word), tag("dd", meaning)) for word, meaning in TERMS]
    return tag(
        "header",
        tag("p", "Report of an experiment", class_="kind"),
        tag("h1", name),
        tag("p", summary),
        *([tag("dl", *tiles, class_="facts")] if tiles else []),
        tag("details", tag("summary", "What is a CAM, a seed, an mIoU?"), tag("dl", *terms, class_="terms"), open="open"),
    )


def loss_section(curves: Mapping[str, Curve]) -> Element:
    """A chart for each loss that was ever above zero.

    Args:
        curves: see `history.read_losses`; at least one.
    """
    charts = []
    for name, curve in curves.items():
        begun = next((i for i, (_, value) in enumerate(curve) if value), None)
        if begun is not None:
            charts.append(loss_card(name, curve[begun:]))
    silent = [name for name, curve in curves.items() if not any(value for _, value in curve)]
    note = [tag("p", f"Zero all along, being switched off or not begun yet: {', '.join(silent)}.")] if silent else []
    intro = tag(
        "p",
        "A loss measures what the network still gets wrong. Those on the labels, cls and cls_diff, should fall and level "
        "off. "
        "The others compare answers or maps of the network with each other: such losses are small while it says little, can "
        "rise as it begins to see something, and need not fall for the maps to get better. All charts start at zero.",
    )
    return section("losses", "Losses", intro, tag("div", *charts, class_="cards"), *note)


def loss_card(name: str, curve: Curve) -> Element:
    """The chart of one loss, from where it begins."""
    (start, first), (end, last), values = curve[0], curve[-1], [value for _, value in curve]
    change = f"from {first:.3g} to {last:.3g}" if len(curve) > 1 else f"{first:.3g}"
    chart = line_chart(
        f"loss-{name}",
        f"Loss {name}",
        f"A line from {start:.3g} to {end:.3g} epochs trained: {change}.",
        curve,
        x_axis("epochs trained", nice_ticks(0, end)),
        y_axis("loss", nice_ticks(min(0, *values), max(values))),
    )
    return tag("figure", tag("figcaption", tag("b", name), f" {change}. {LOSSES.get(name, '')}"), chart, class_="card")


def progress_section(scores: Mapping[int, Mapping[str, float]], images: str) -> Element:
    """The scores over the epochs.

    Args:
        scores: see `history.read_progress`; at least one.
        images: the list that was scored.
    """
    charts = []
    for key, (name, meaning) in MEASURES.items():
        points = [(epoch, entry[key]) for epoch, entry in scores.items() if key in entry]
        if points:
            best, last = max(points, key=lambda point: point[1]), points[-1]
            outcome = f"Best {best[1]:.2f} % after epoch {best[0]}; {last[1]:.2f} % after the last one scored, {last[0]}."
            caption = tag("figcaption", tag("b", name), f" {meaning} {outcome}")
            charts.append(tag("figure", caption, score_chart(f"progress-{key}", name, outcome, points, best), class_="card"))
    intro = tag("p", f"After some epochs the network was tried on the images of the list {images}.")
    return section("progress", "Scores during training", intro, tag("div", *charts, class_="cards"))


def score_chart(key: str, name: str, outcome: str, points: Points, best: tuple[float, float]) -> Element:
    """A measure over the epochs."""
    low, high = score_range([value for _, value in points])
    return line_chart(
        key,
        f"{name} over the epochs",
        outcome,
        points,
        x_axis("epoch, the first being 0", nice_ticks(points[0][0], points[-1][0], whole=True)),
        y_axis(f"{name} in %", nice_ticks(low, high)),
        [Mark(*best, f"best {best[1]:.2f}")],
    )


def score_range(values: Sequence[float]) -> tuple[float, float]:
    """Range of the axis of a score in percent: all values, room for a mark, at least `LEAST_POINTS`."""
    low, high = min(values), max(values)
    high += HEADROOM * (high - low)
    missing = max(0.0, LEAST_POINTS - (high - low))
    low = min(max(0.0, low - missing / 2), 100.0 - LEAST_POINTS)
    return low, max(high, low + LEAST_POINTS)


def class_section(scores: Scores, classes: Sequence[str]) -> Element:
    """The IoU of every class at the best threshold, as bars and as a table.

    Args:
        scores: of the CAM files.
        classes: names without background.
    """
    iou, precision, recall = (values[scores.best] for values in (scores.iou, scores.precision, scores.recall))
    names = ("background", *classes)
    order = sorted(range(len(names)), key=lambda c: (-iou[c], c))
    bars = [(names[c], float(iou[c]), "" if scores.pixels[c] else NOT_IN_TRUTH) for c in order]
    columns = min(MOST_CHARTS, -(-len(bars) // ROWS_OF_A_CHART))
    size = -(-len(bars) // columns)
    charts = []
    for i in range(0, len(bars), size):
        part = bars[i : i + size]
        title = f"IoU of classes {i + 1} to {i + len(part)} of {len(bars)}, from the best down"
        words = f"From {part[0][0]}, {part[0][1]:.1f} %, to {part[-1][0]}, {part[-1][1]:.1f} %."
        charts.append(tag("figure", bar_chart(f"classes-{i}", title, words, part, "IoU in %"), class_="card"))
    rows = [(names[c], *(f"{values[c]:.2f}" for values in (iou, precision, recall))) for c in order]
    intro = f"From {bars[0][0]}, which the seeds match best, to {bars[-1][0]}."
    absent = [name for name, _, note in bars if note]
    if absent:
        intro += f" {len(absent)} of the classes are not in the true masks of these images and count as 0 in the mean."
    numbers = table(("class", "IoU %", "precision %", "recall %"), rows)
    hint = tag(
        "p", "Precision: how much of what the seed gives to a class is right. Recall: how much of the class it finds."
    )
    return section(
        "classes",
        "Each class",
        tag("p", intro),
        tag("div", *charts, class_="cards"),
        tag("details", tag("summary", "The numbers"), hint, numbers),
    )


def threshold_section(scores: Scores) -> Element:
    """mIoU at every threshold."""
    threshold, best = float(scores.thresholds[scores.best]), float(scores.miou[scores.best])
    outcome = f"The best, {best:.2f} %, is at {threshold:.2f}."
    near = np.flatnonzero(scores.miou >= best - 1)
    low, high = (float(scores.thresholds[i]) for i in near[[0, -1]])
    points = list(zip(scores.thresholds.tolist(), scores.miou.tolist(), strict=True))
    chart = line_chart(
        "threshold",
        "mIoU at every threshold",
        outcome,
        points,
        x_axis("threshold", nice_ticks(0, 1)),
        y_axis("mIoU in %", nice_ticks(0, (1 + HEADROOM) * best)),
        [Mark(threshold, best, f"{best:.2f} at {threshold:.2f}")],
    )
    intro = (
        f"A low threshold makes large masks, a high one small masks. {outcome} Between {low:.2f} and {high:.2f} there are "
        "thresholds within one point of it: the wider this range, the less the choice matters."
    )
    return section(
        "threshold", "The threshold", tag("div", tag("p", intro), tag("figure", chart, class_="card"), class_="pair")
    )


def growth_section(animation: bytes) -> Element:
    """The CAMs of some images over the epochs.

    Args:
        animation: a WebP file.
    """
    intro = "The same images after every epoch: the network was told what is in them, and finds where."
    picture = tag("img", src=data_address(animation, "webp"), alt="CAMs of some images from epoch to epoch", class_="wide")
    return section("growth", "How the CAMs grew", tag("p", intro), picture)


def image_section(gallery: Sequence[Element], threshold: float, threshold_from: str, scored: bool) -> Element:
    """Single images.

    Args:
        gallery: see `gallery.build_gallery`.
        threshold: background score in the masks from the CAMs.
        threshold_from: source of the threshold, in words.
        scored: whether there are true masks.
    """
    ranked = (
        "Ranked by the mIoU of the mask from the CAMs, over the classes in the true mask of the image. " if scored else ""
    )
    ious = " Numbers beside the classes are the IoU of the mask from the CAMs." if scored else ""
    intro = (
        f"{ranked}In CAMs, red is a high score and blue a low one; the white line encloses what exceeds the threshold "
        f"{threshold:.2f}, {threshold_from}. Masks have VOC's colours, and show the background as the image in grey; pale "
        f"pixels are not scored, or undecided.{ious}"
    )
    keys = tag("p", "The arrow keys ← and → go from image to image.", class_="keys")
    return section("images", "Images", tag("p", intro), keys, *gallery)


def option_section(options: TrainOptions, defaults: TrainOptions) -> Element:
    """The options of the run, those that differ from its recipe first.

    Args:
        options: options of the run.
        defaults: options of its recipe, with the run's name and folder.
    """
    all_rows, changed = [], []
    for f in dataclasses.fields(options):
        value, default = (show(getattr(source, f.name)) or "(empty)" for source in (options, defaults))
        all_rows.append((flag_name(f.name), value, f.metadata["help"]))
        if value != default:
            changed.append((flag_name(f.name), value, default, f.metadata["help"]))
    if changed:
        first = table(("flag", "this run", "recipe", "meaning"), changed)
    else:
        first = tag("p", f"None differs from the recipe {options.exp}.")
    everything = table(("flag", "value", "meaning"), all_rows)
    return section(
        "options",
        "Options",
        tag("details", tag("summary", f"What differs from the recipe {options.exp} ({len(changed)})"), first),
        tag("details", tag("summary", f"All options ({len(all_rows)})"), everything),
    )
