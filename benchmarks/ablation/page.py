"""The tables and the plot of an ablation, made from its results."""

import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from utils.files import whole_file

from .pairs import Difference, difference
from .results import RECENT, Result
from .rows import ROWS

WIDTH, LEFT, RIGHT = 790, 400, 760
REFERENCES = ("baseline", "all")
"""Rows that every other row is compared with in the table."""
MAIN_PAIRS = (
    ("all", "baseline"),
    ("lfca", "baseline"),
    ("pac", "baseline"),
    ("image", "baseline"),
    ("image", "all"),
    ("blur", "all"),
    ("untrained", "all"),
    ("stem", "all"),
    ("image200", "all"),
)
"""Rows of the summary, and what each is compared with."""


def by_row(results: Sequence[Result]) -> dict[str, list[Result]]:
    """Results of each row, in the order of `ROWS` and of seeds."""
    known = {name: sorted((r for r in results if r.row == name), key=lambda r: r.seed) for name in ROWS}
    return {name: found for name, found in known.items() if found}


def compare(rows: Mapping[str, Sequence[Result]], name: str, other: str) -> Difference | None:
    """The difference of a row to another one; None if they have no seed in common, or are not to be paired."""
    unpaired = name == other or ROWS[name].against == name
    shared = {r.seed for r in rows.get(name, [])} & {r.seed for r in rows.get(other, [])}
    return difference(rows[name], rows[other]) if shared and not unpaired else None


def differences(rows: Mapping[str, Sequence[Result]]) -> dict[str, Difference]:
    """The difference of each row to the one that it is named against, if that has a seed in common."""
    found = {name: compare(rows, name, ROWS[name].against) for name in rows}
    return {name: one for name, one in found.items() if one is not None}


def differences_table(results: Sequence[Result]) -> str:
    """Each row's paired differences to the rows of `REFERENCES` in Markdown.

    Deviation over seeds and the number of seeds for ± 1 point are of the difference to the left of them: to loss 1 alone.
    """
    rows = by_row(results)
    first, second = (f"minus {ROWS[name].title}" for name in REFERENCES)
    heads = ["row", "seeds", first, "its deviation", "seeds for ± 1", second]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for name, own in rows.items():
        to_first, to_second = (compare(rows, name, other) for other in REFERENCES)
        if to_first is not None or to_second is not None:
            cells = [titled(name), str(len(own)), difference_cell(to_first), *spread(to_first), difference_cell(to_second)]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def titled(name: str) -> str:
    """A row's title, with its name on the command line."""
    return f"{ROWS[name].title} (`{name}`)"


def spread(found: Difference | None) -> tuple[str, str]:
    """Cells of a difference's standard deviation over seeds and of the number of seeds for ± 1 point, if known."""
    if found is None or math.isnan(found.deviation):
        return "", ""
    return f"{found.deviation:.2f}", str(found.seeds_for(1))


def difference_cell(found: Difference | None) -> str:
    """Mean with its 95 % interval over seeds, and the 95 % interval over images in brackets."""
    if found is None:
        return ""
    low, high = found.image_interval
    return interval(found) + ("" if math.isnan(low) else f" ({low:+.2f} … {high:+.2f})")


def interval(found: Difference) -> str:
    """Mean with half its 95 % interval over seeds, if there are several."""
    return f"{found.mean:+.2f}" + ("" if math.isnan(found.half_width) else f" ± {found.half_width:.2f}")


def summary_table(data: Mapping[str, Sequence[Result]]) -> str:
    """The differences of those `MAIN_PAIRS` that have results, on several data sets in Markdown.

    Args:
        data: the results of each data set, by its name.
    """
    rows = {name: by_row(results) for name, results in data.items()}
    lines = [f"| | {' | '.join(rows)} |", "|---" * (len(rows) + 1) + "|"]
    for name, other in MAIN_PAIRS:
        cells = [f"{ROWS[name].title}, minus {ROWS[other].title}"]
        for found in (compare(own, name, other) for own in rows.values()):
            cells.append(f"{interval(found)} ({len(found.by_seed)} pairs)" if found is not None else "")
        if any(cells[1:]):
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def runs_table(results: Sequence[Result]) -> str:
    """The mIoU of every run in Markdown, with each row's mean and standard deviation over seeds."""
    rows = by_row(results)
    seeds = sorted({result.seed for result in results})
    averaged = [f"validation, last {RECENT} epochs"] if any(result.recent is not None for result in results) else []
    heads = ["row", "mIoU in %", *averaged, *(f"seed {seed}" for seed in seeds)]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for name, found in rows.items():
        scores = {result.seed: f"{result.miou:.2f}" for result in found}
        recent = mean_and_deviation([result.recent for result in found if result.recent is not None])
        cells = [ROWS[name].title, mean_and_deviation([result.miou for result in found]), *[recent] * len(averaged)]
        lines.append(f"| {' | '.join([*cells, *(scores.get(seed, '') for seed in seeds)])} |")
    return "\n".join(lines) + "\n"


def mean_and_deviation(scores: Sequence[float]) -> str:
    """A cell of the mean over seeds and, of several, the standard deviation."""
    spread = f" ± {statistics.stdev(scores):.2f}" if len(scores) > 1 else ""
    return f"{statistics.mean(scores):.2f}{spread}" if scores else ""


def plot(results: Sequence[Result]) -> str:
    """The differences as SVG: a dot for each seed, a bar at the mean, a line for the 95 % interval over seeds."""
    compared = differences(by_row(results))
    height = 70 + 34 * len(compared)
    ends = [0.0]
    for found in compared.values():
        half = 0.0 if math.isnan(found.half_width) else found.half_width
        ends += [*found.by_seed.values(), found.mean - half, found.mean + half]
    low, high = math.floor(min(ends)), math.ceil(max(ends) + 1e-9)
    step = max(1, round((high - low) / 8))

    def x(points: float) -> float:
        return LEFT + (points - low) / max(high - low, 1) * (RIGHT - LEFT)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="13">',
        "<title>Differences of mIoU in points: every seed, mean and 95 % interval</title>",
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    for tick in range(low, high + 1, step):
        shade = "#888" if tick == 0 else "#ddd"
        parts.append(f'<path d="M{x(tick):.1f} 10V{height - 44}" stroke="{shade}"/>')
        parts.append(f'<text x="{x(tick):.1f}" y="{height - 28}" text-anchor="middle" fill="#444">{tick:+d}</text>')
    middle = (LEFT + RIGHT) / 2
    parts.append(f'<text x="{middle}" y="{height - 8}" text-anchor="middle" fill="#444">points of mIoU</text>')
    for i, (name, found) in enumerate(compared.items()):
        y = 28 + 34 * i
        parts.append(f'<text x="{LEFT - 12}" y="{y}" text-anchor="end" fill="#222">{ROWS[name].title}</text>')
        against = f"against: {ROWS[ROWS[name].against].title}"
        parts.append(f'<text x="{LEFT - 12}" y="{y + 13}" text-anchor="end" fill="#777" font-size="10">{against}</text>')
        if not math.isnan(found.half_width):
            reach = f"M{x(found.mean - found.half_width):.1f} {y}H{x(found.mean + found.half_width):.1f}"
            parts.append(f'<path d="{reach}" stroke="#0b5394" stroke-width="2"/>')
        parts.append(f'<path d="M{x(found.mean):.1f} {y - 9}V{y + 9}" stroke="#0b5394" stroke-width="3"/>')
        dots = found.by_seed.values()
        parts += [f'<circle cx="{x(dot):.1f}" cy="{y}" r="4" fill="#e69138" fill-opacity="0.8"/>' for dot in dots]
    return "\n".join((*parts, "</svg>\n"))


def write_beside(path: Path, results: Sequence[Result]) -> None:
    """Writes both tables and the plot beside a file of results, as .md and .svg."""
    texts = {".md": f"{differences_table(results)}\n{runs_table(results)}", ".svg": plot(results)}
    for suffix, text in texts.items():
        with whole_file(path.with_suffix(suffix)) as file:
            file.write(text.encode())
