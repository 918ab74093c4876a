"""How time and memory grow with images, classes, pixels, epochs and processes: python -m benchmarks.scaling

Writes docs/scaling.md's table and plot. Every measurement is a process of its own and is kept in `results.json`, so that the
same command continues after an interruption, and a later one with other --images adds sizes. Seconds are CPU time, which
other work on the machine hardly changes.
"""

import argparse
import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from utils.errors import InputError, run_script
from utils.files import whole_file
from utils.log import progress

from .pages import write_between

ROOT = Path(__file__).parents[1]
PAGE, PLOT = ROOT / "docs" / "scaling.md", ROOT / "docs" / "scaling.svg"
START, END = "<!-- measured: python -m benchmarks.scaling -->", "<!-- end -->"
STEEP = 1.05
"""A slope above it is a defect, or explained."""
SIDES = (320, 1000, 3464)
COLOURS = ("#0b5394", "#e69138", "#38761d", "#990000", "#674ea7", "#45818e", "#7f6000", "#a64d79")


@dataclass(frozen=True)
class Series:
    """One piece of work at several sizes.

    Args:
        title: name of its row in the table.
        work: name in `scaling_work.WORK`.
        grows: name of the setting that varies.
        sizes: the values of that setting.
        settings: the fixed settings.
        cached: whether an earlier run has filled the caches of labels and checks.
        exponent: of the size in the amount of work: 2 for the side of an image.
    """

    title: str
    work: str
    grows: str
    sizes: tuple[int, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    cached: bool = False
    exponent: int = 1

    def key(self, size: int) -> str:
        """The name of a measurement in `results.json`."""
        return f"{self.title} {size}"


def series_of(images: Sequence[int], classes: Sequence[int]) -> list[Series]:
    """All series, for the given numbers of images and classes."""
    many = tuple(images)
    starts = [
        Series(f"first step, {kind}, {how}", "start", "images", many, {"labels": kind}, how == "cached")
        for kind in ("xml", "json", "csv", "shards")
        for how in ("first time", "cached")
    ]
    return [
        *starts,
        Series("what is missing of results", "missing", "images", many),
        Series("scoring, 64 x 64 pixels", "evaluate", "images", tuple(n for n in many if n <= 10**4)),
        Series("scoring of 64 images by classes", "evaluate", "classes", tuple(classes), {"images": 64, "side": 256}),
        Series("training of an epoch of 8 images by classes", "train", "classes", tuple(classes), {"images": 8}),
        Series("inference of 8 images by classes", "infer", "classes", tuple(classes), {"images": 8}),
        Series("first step by classes", "start", "classes", tuple(classes), {"images": 1000}, True),
        Series("scoring of 8 images by side, 0.1 to 12 megapixels", "evaluate", "side", SIDES, {"images": 8}, exponent=2),
        Series("loading of 8 images by side, 0.1 to 12 megapixels", "load", "side", SIDES, {"images": 8}, exponent=2),
        Series("training by epochs", "train", "epochs", (1, 4, 16), {"images": 8}),
        Series("scoring of 512 images by processes", "evaluate", "processes", (1, 2), {"images": 512}),
    ]


def main(args: list[str]) -> None:
    # Options
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images", type=int, nargs="+", default=[10**2, 10**3, 10**4, 10**5])
    parser.add_argument("--classes", type=int, nargs="+", default=[20, 80, 1000])
    parser.add_argument("--only", default="", help="start of the titles to measure; empty: all")
    parser.add_argument("--folder", type=Path, default=Path("experiment/scaling"), help="for data and results")
    parser.add_argument("--no-page", action="store_true", help="measure, and leave docs/scaling.md as it is")
    options = parser.parse_args(args)
    if min(options.images) < 8:
        raise InputError(f"--images must be at least 8, got {min(options.images)}")
    series = series_of(options.images, options.classes)

    # Measurements: those in results.json are not repeated
    kept = options.folder / "results.json"
    found: dict[str, dict[str, Any]] = json.loads(kept.read_text()) if kept.exists() else {}
    wanted = [(one, size) for one in series for size in one.sizes if one.title.startswith(options.only)]
    for one, size in progress([w for w in wanted if w[0].key(w[1]) not in found], "scaling"):
        found[one.key(size)] = measure(one, size, options.folder)
        with whole_file(kept) as file:
            file.write(json.dumps(found, indent=1).encode())

    # Page
    text = table(series, found)
    print(text)
    if not options.no_page:
        write_between(PAGE, START, END, text)
        with whole_file(PLOT) as file:
            file.write(plot(series, found).encode())


def measure(one: Series, size: int, folder: Path) -> dict[str, Any]:
    """Runs one piece of work at one size in a new process.

    Raises:
        InputError: it failed.
    """
    settings = {"images": 8, **one.settings, one.grows: size}
    name = f"{one.work}-{settings.get('labels', 'xml')}-{'-'.join(str(v) for v in settings.values() if isinstance(v, int))}"
    place = folder / name
    place.mkdir(parents=True, exist_ok=True)
    env = os.environ | {"XDG_CACHE_HOME": str(place / "cache"), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-m", "benchmarks.scaling_work", one.work, str(place), json.dumps(settings)]
    if not one.cached:
        shutil.rmtree(place / "cache", ignore_errors=True)
    for _ in range(1 + (one.cached and not (place / "cache").exists())):
        done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
        if done.returncode:
            raise InputError(f"{one.title} at {size} failed: {done.stderr.strip().splitlines()[-1]}")
    return json.loads(done.stdout)


def slope(sizes: Sequence[int], values: Sequence[float]) -> float:
    """Slope between the last two points of a log-log plot; constant costs dominate at the smaller sizes."""
    (x, y), (last_x, last_y) = list(zip(sizes, values, strict=True))[-2:]
    return math.log(max(last_y, 1e-9) / max(y, 1e-9)) / math.log(last_x / x)


def marked(steepness: float) -> str:
    """A slope for the table, in bold above `STEEP`."""
    return f"**{steepness:.2f}**" if steepness > STEEP else f"{steepness:.2f}"


def measured(one: Series, found: Mapping[str, dict[str, Any]]) -> list[tuple[int, dict[str, Any]]]:
    """The sizes of a series that have been measured, with what was found."""
    return [(size, found[one.key(size)]) for size in one.sizes if one.key(size) in found]


def table(series: Iterable[Series], found: Mapping[str, dict[str, Any]]) -> str:
    """The Markdown table: a row for each series."""
    lines = ["| work | sizes | CPU seconds | slope | memory, MB | slope | a worker's own, MB |"]
    lines.append("|---|---|---|---|---|---|---|")
    for one in series:
        points = measured(one, found)
        if len(points) < 2:
            continue
        sizes = [size for size, _ in points]
        seconds, memory = ([point[name] for _, point in points] for name in ("cpu", "parent"))
        own = ", ".join(f"{point['worker'] / 1e6:.0f}" for _, point in points if "worker" in point)
        cells = [one.title, ", ".join(f"{size:,}" for size in sizes), ", ".join(f"{s:.3g}" for s in seconds)]
        cells += [marked(slope(sizes, seconds) / one.exponent), ", ".join(f"{m / 1e6:.0f}" for m in memory)]
        lines.append(f"| {' | '.join([*cells, marked(slope(sizes, memory) / one.exponent), own])} |")
    return "\n".join(lines) + "\n"


def plot(series: Iterable[Series], found: Mapping[str, dict[str, Any]]) -> str:
    """Seconds by number of images in a log-log plot, as SVG."""
    lines = [(one.title, measured(one, found)) for one in series if one.grows == "images"]
    lines = [(title, points) for title, points in lines if len(points) > 1]
    if not lines:
        return '<svg xmlns="http://www.w3.org/2000/svg"/>\n'
    every = [(math.log10(size), math.log10(max(point["cpu"], 1e-4))) for _, points in lines for size, point in points]
    low_x, high_x = math.floor(min(x for x, _ in every)), math.ceil(max(x for x, _ in every))
    low_y, high_y = math.floor(min(y for _, y in every)), math.ceil(max(y for _, y in every))

    def place(size: float, seconds: float) -> tuple[float, float]:
        x = (math.log10(size) - low_x) / max(1, high_x - low_x)
        y = (math.log10(max(seconds, 1e-4)) - low_y) / max(1, high_y - low_y)
        return 60 + 420 * x, 330 - 300 * y

    parts = ['<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 760 370" font-family="sans-serif" font-size="13">']
    parts += ["<title>Seconds by number of images</title>", '<rect width="100%" height="100%" fill="white"/>']
    for power in range(low_x, high_x + 1):
        x, _ = place(10**power, 10.0**low_y)
        label = f'<text x="{x:.0f}" y="350" text-anchor="middle">{10**power:,}</text>'
        parts.append(f'<path d="M{x:.0f} 30V330" stroke="#ddd"/>{label}')
    for power in range(low_y, high_y + 1):
        _, y = place(10**low_x, 10.0**power)
        label = f'<text x="52" y="{y + 4:.0f}" text-anchor="end">{10.0**power:g} s</text>'
        parts.append(f'<path d="M60 {y:.0f}H480" stroke="#ddd"/>{label}')
    for i, (title, points) in enumerate(lines):
        colour = COLOURS[i % len(COLOURS)]
        places = " ".join("{:.0f},{:.0f}".format(*place(size, point["cpu"])) for size, point in points)
        parts.append(f'<polyline points="{places}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts.append(f'<text x="500" y="{40 + 22 * i}" fill="{colour}">{title}</text>')
    return "\n".join((*parts, "</svg>\n"))


if __name__ == "__main__":
    run_script(main)
