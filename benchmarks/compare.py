"""Which benchmarks moved by more than the machine's noise: python -m benchmarks.compare COMMIT [COMMIT]

Compares docs/performance.json of two commits, or of a commit and the working tree. The file holds times as multiples of a
yardstick: a matrix product, or reading the files' bytes. The exit status is 1 if a benchmark is slower.
"""

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from utils.errors import InputError, run_script

ROOT = Path(__file__).parents[1]
RATIOS = "docs/performance.json"


def main(args: list[str]) -> None:
    # Options
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("old", help="commit")
    parser.add_argument("new", nargs="?", default="", help="commit; without it, the file as it is")
    options = parser.parse_args(args)
    old, new = read_ratios(options.old), read_ratios(options.new)

    # Table
    print(f"{'old':>9}{'new':>9}{'change':>9}{'noise':>8}")
    slower = [work for work in new if work in old and print_row(work, old[work], new[work]) == "slower"]
    for names, what in ((new.keys() - old.keys(), "not in the old"), (old.keys() - new.keys(), "not in the new")):
        for work in sorted(names):
            print(f"{what}: {work}")
    if slower:
        sys.exit(1)


def read_ratios(commit: str) -> dict[str, list[float]]:
    """The ratios of each benchmark at a commit; an empty commit is the working tree.

    Raises:
        InputError: there are none, or they cannot be read.
    """
    place = f"{RATIOS} of {commit}" if commit else RATIOS
    try:
        if commit:
            command = ["git", "show", "--end-of-options", f"{commit}:{RATIOS}"]
            text = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
        else:
            text = (ROOT / RATIOS).read_text()
        ratios = json.loads(text)["ratios"]
        found = {str(work): [float(ratio) for ratio in values] for work, values in ratios.items()}
    except subprocess.CalledProcessError as error:
        raise InputError(f"{place} is not there: {' '.join(error.stderr.split())}") from error
    except OSError as error:
        raise InputError(f"{place} is not there: make bench writes it") from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(f"{place} cannot be read: {error!r}") from error
    if not all(found.values()) or not all(ratio > 0 for values in found.values() for ratio in values):
        raise InputError(f"{place} cannot be read: each benchmark has one ratio or more, all above 0")
    return found


def print_row(work: str, old: Sequence[float], new: Sequence[float]) -> str:
    """Prints one benchmark; returns slower or faster if it changed by more than the noise, else an empty text."""
    before, now, noise = statistics.median(old), statistics.median(new), noise_of(old, new)
    change = now / before - 1
    word = "" if abs(change) <= noise else "slower" if change > 0 else "faster"
    print(f"{before:9.3f}{now:9.3f}{change:+9.1%}{noise:8.1%}  {word:<8}{work}")
    return word


def noise_of(*measured: Sequence[float]) -> float:
    """The largest relative deviation of a call from the median of its commit."""
    return max(abs(ratio / statistics.median(ratios) - 1) for ratios in measured for ratio in ratios)


if __name__ == "__main__":
    run_script(main)
