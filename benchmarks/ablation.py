"""The paper's central table at toy scale: python -m benchmarks.ablation

Trains every row with several seeds by train_trm.py, and writes a Markdown table and a plot of the mIoU of the last epoch's
CAMs on the validation list. All rows have the same data, number of epochs, seeds and learning rate. Runs are kept in
EXPERIMENTS, so that the same command continues after an interruption.
"""

import argparse
import os
import statistics
import subprocess
import sys
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from utils.errors import InputError, run_script
from utils.experiment import read_scores
from utils.files import whole_file
from utils.log import progress
from utils.machine.cores import available_cores
from utils.options.recipes import recipe


@dataclass(frozen=True)
class Row:
    """A row of the table: its name, its title, and its flags of train_trm.py."""

    name: str
    title: str
    flags: tuple[str, ...]


UNTRAINED = ("--diffusion-weights", "random")
BASELINE = Row("baseline", "multi-class-token baseline", ("--W", "1", "0", "0", "0", "0"))
FULL = Row("all", "all", ())
ROWS = (
    BASELINE,
    Row("lfca", "+ LFCA (losses 2 and 3)", ("--W", "1", "1", "1", "0", "0")),
    Row("pac", "+ patch affinity consistency (losses 4 and 5)", ("--W", "1", "0", "0", "1", "1")),
    FULL,
    Row("untrained", "all, denoiser untrained", UNTRAINED),
    Row("steps1", "all, features of 1 step", ("--feature-steps", "0")),
    Row("steps3", "all, features of 3 steps", ("--feature-steps", "0", "1", "2")),
    Row("shared", "all, one pass shared by the 5 steps", ("--guidance", "shared")),
)


def main(args: list[str]) -> None:
    # Options
    parser = argparse.ArgumentParser(prog="benchmarks.ablation", description=__doc__.splitlines()[0])
    parser.add_argument("--exp", default="dig_toy", help="recipe of all rows")
    parser.add_argument("--data-path", default="", help="data set; empty: the recipe's")
    parser.add_argument("--rows", nargs="+", default=[row.name for row in ROWS], help="names of the rows to fill")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--flags", default="", help="further flags of all rows, in one string")
    parser.add_argument("--experiments", default="./experiment/ablation", help="folder of the runs")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time, which share the cores")
    parser.add_argument("--out", default="./experiment/ablation/ablation.md", help="table; the plot lies beside it, as .svg")
    options = parser.parse_args(args)
    rows = [row for row in ROWS if row.name in options.rows]
    if unknown := set(options.rows) - {row.name for row in rows}:
        raise InputError(f"--rows {unknown.pop()} is no row; there are {', '.join(row.name for row in ROWS)}")

    # Runs
    tasks = [(row, seed) for seed in options.seeds for row in rows]
    threads = max(1, available_cores() // options.jobs)
    with ThreadPoolExecutor(options.jobs) as pool:
        runs = pool.map(lambda task: train(task[0], task[1], options, threads), tasks)
        scores = dict(zip(tasks, progress(runs, "ablation", len(tasks)), strict=True))

    # Results
    table = {row: [scores[row, seed] for seed in options.seeds] for row in rows}
    out = Path(options.out)
    for path, text in ((out, markdown(table, options.seeds)), (out.with_suffix(".svg"), plot(table))):
        with whole_file(path) as file:
            file.write(text.encode())
    print(markdown(table, options.seeds))
    print(f"{out} and {out.with_suffix('.svg')}")


def train(row: Row, seed: int, options: argparse.Namespace, threads: int) -> float:
    """mIoU of a run in percent; trains the run if it is not finished."""
    name = f"{row.name}-{seed}"
    folder = Path(options.experiments) / name
    flags = f"--exp {options.exp} --experiments {options.experiments} --seed {seed} {options.flags}".split()
    flags += row.flags
    if options.data_path:
        flags += ["--data-path", options.data_path]
    last_epoch = str(int(value_of(flags, "--epochs") or recipe(options.exp).train["epochs"]) - 1)
    if last_epoch not in read_scores(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "output.txt").open("wb") as output:
            command = [sys.executable, "train_trm.py", "--name", name, *flags]
            environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
            status = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, env=environment).returncode
        if status:
            raise InputError(f"{' '.join(command)} failed: see {folder / 'output.txt'}")
    return read_scores(folder)[last_epoch]["miou"]


def value_of(flags: Iterable[str], flag: str) -> str:
    """The value of a flag; empty if it is not given."""
    flags = list(flags)
    return flags[flags.index(flag) + 1] if flag in flags else ""


def markdown(table: Mapping[Row, list[float]], seeds: Iterable[int]) -> str:
    """The table in Markdown: mean and sample standard deviation, difference to the first row, and each seed."""
    lines = [f"| row | mIoU | against the first row | {' | '.join(f'seed {seed}' for seed in seeds)} |"]
    lines.append("|---" * (lines[0].count("|") - 1) + "|")
    first = statistics.mean(next(iter(table.values())))
    for row, scores in table.items():
        mean = statistics.mean(scores)
        spread = f" ± {statistics.stdev(scores):.2f}" if len(scores) > 1 else ""
        cells = " | ".join(f"{score:.2f}" for score in scores)
        lines.append(f"| {row.title} | {mean:.2f}{spread} | {mean - first:+.2f} | {cells} |")
    return "\n".join(lines) + "\n"


def plot(table: Mapping[Row, list[float]]) -> str:
    """The plot as SVG: for each row a dot per seed, and a bar at the mean."""
    height, left, right = 40 + 28 * len(table), 330, 760
    every = [score for scores in table.values() for score in scores]
    low, high = int(min(every)) - 1, int(max(every)) + 2
    ticks = range(low, high + 1, max(1, (high - low) // 6))

    def x(score: float) -> float:
        return left + (score - low) / (high - low) * (right - left)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {right + 30} {height}"',
        ' font-family="sans-serif" font-size="13">',
        "<title>mIoU in percent of every seed, bars at the means</title>",
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    for tick in ticks:
        parts.append(f'<path d="M{x(tick):.1f} 10V{height - 28}" stroke="#ddd"/>')
        parts.append(f'<text x="{x(tick):.1f}" y="{height - 10}" text-anchor="middle" fill="#444">{tick}</text>')
    for i, (row, scores) in enumerate(table.items()):
        y = 26 + 28 * i
        mean = x(statistics.mean(scores))
        parts.append(f'<text x="{left - 12}" y="{y + 4}" text-anchor="end" fill="#222">{row.title}</text>')
        parts.append(f'<path d="M{mean:.1f} {y - 9}V{y + 9}" stroke="#0b5394" stroke-width="3"/>')
        parts += [f'<circle cx="{x(score):.1f}" cy="{y}" r="4" fill="#e69138" fill-opacity="0.8"/>' for score in scores]
    return "\n".join((*parts, "</svg>\n"))


if __name__ == "__main__":
    run_script(main)
