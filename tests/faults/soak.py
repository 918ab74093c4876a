"""Everything that goes wrong, many times over: `make soak`, or python -m tests.faults.soak --kills 100 --mutations 1000

Prints a table of what was tried and what survived; exit code 1 where the two differ.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from . import Tally
from .checkpoints import try_damaged_checkpoints
from .disk import try_full_disk
from .hostile import try_hostile
from .kills import try_kills
from .mutations import try_mutations


def main(args: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="tests.faults.soak", description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100, help="SIGKILLs, over training, denoiser training and inference")
    parser.add_argument("--checkpoints", type=int, default=20, help="torn or bit-flipped checkpoints")
    parser.add_argument("--mutations", type=int, default=1000, help="mutated input files")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(args)

    jobs: dict[str, Callable[[Path], Tally | dict[str, Tally]]] = {
        "hostile files": try_hostile,
        "mutated inputs": lambda folder: try_mutations(options.mutations, options.seed, folder),
        "damaged checkpoints": lambda folder: try_damaged_checkpoints(options.checkpoints, options.seed, folder),
        "full disk": try_full_disk,
        "SIGKILL": lambda folder: try_kills(options.kills, options.seed, folder),
    }
    failures = []
    print("| what | tried | survived | minutes |\n|---|---|---|---|", flush=True)
    for name, job in jobs.items():
        begun = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="dig-soak-") as folder:
            try:
                result = job(Path(folder))
            except PermissionError as error:
                print(f"| {name} | | | {error} |", flush=True)
                continue
        minutes = (time.monotonic() - begun) / 60
        for kind, tally in (result if isinstance(result, dict) else {"": result}).items():
            title = f"{name}, {kind}" if kind else name
            print(f"| {title} | {tally.tried} | {tally.survived} | {minutes:.1f} |", flush=True)
            failures += [f"{title}: {line}" for line in tally.failures]
    print("\n".join(failures))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
