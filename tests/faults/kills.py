"""SIGKILL at random moments: the same command, given again until it succeeds, must end in the same bits."""

import contextlib
import hashlib
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import torch

from tests.helpers.toy_data import make_toy_voc

from . import Tally
from .commands import DENOISER, INFER, TRAIN, start, succeed


class Undisturbed(NamedTuple):
    """What a run ends in that is not killed."""

    digests: dict[str, str]
    seconds: float


def undisturbed(line: str, folder: Path, place: str, patterns: tuple[str, ...]) -> Undisturbed:
    """Runs a command, and takes its time."""
    begun = time.monotonic()
    succeed(line, folder)
    return Undisturbed(digests(folder / place, patterns), time.monotonic() - begun)


def try_kills(count: int, seed: int, folder: Path, known: Mapping[str, Undisturbed] | None = None) -> dict[str, Tally]:
    """Kills training, denoiser training and inference `count` times in all.

    Args:
        count: kills; runs are killed again and again until they end, and begun again until all kills are done.
        seed: of the moments.
        folder: empty; the runs go there.
        known: commands of which an undisturbed run on the same images is known.

    Returns:
        For each of the three, its kills, and as survived those of runs that ended in the bits of an undisturbed one.
    """
    make_toy_voc(folder / "VOC2012", 12)
    rng = random.Random(seed)
    jobs = {
        "training": (TRAIN, "experiment/run", ("ckpt/*.pth", "scores.json")),
        "denoiser training": (DENOISER, "experiment/denoiser", ("ckpt/last.pth", "samples/*", "../../denoiser.pt")),
        "inference": (INFER, "experiment/run", ("dict/*", "vis/*")),
    }
    tallies = {}
    for i, (name, (line, place, patterns)) in enumerate(jobs.items()):
        expected, duration = (known or {}).get(line) or undisturbed(line, folder, place, patterns)
        kills = count * (i + 1) // len(jobs) - count * i // len(jobs)
        tallies[name] = kill_until(kills, rng, line, folder, place, patterns, expected, duration)
    return tallies


def kill_until(
    count: int,
    rng: random.Random,
    line: str,
    folder: Path,
    place: str,
    patterns: tuple[str, ...],
    expected: dict[str, str],
    duration: float,
) -> Tally:
    """Kills one command `count` times, over as many runs as that takes."""
    tried = survived = 0
    failures = []
    while tried < count:
        remove(folder / place, patterns)
        kills, ended = 0, False
        while not ended and tried + kills < count and kills < 8:
            ended = not kill_at(rng.uniform(0.3, 1) * duration, line, folder)
            kills += not ended
        try:
            if not ended:
                succeed(line, folder)
            found = digests(folder / place, patterns)
            problem = "" if found == expected else f"{sorted(k for k in expected if found.get(k) != expected[k])} differ"
        except (RuntimeError, subprocess.TimeoutExpired) as error:
            problem = str(error)
        tried += kills
        if problem:
            failures.append(problem)
        else:
            survived += kills
    return Tally(tried, survived, failures)


def kill_at(seconds: float, line: str, folder: Path) -> bool:
    """Starts a command and kills it after some time; False where it had ended by then."""
    process = start(line, folder)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.communicate(timeout=seconds)
        return False
    process.send_signal(signal.SIGKILL)
    process.communicate()
    return True


def digests(folder: Path, patterns: tuple[str, ...]) -> dict[str, str]:
    """SHA-256 of the results, temporary files of killed processes left aside."""
    paths = [path for pattern in patterns for path in folder.glob(pattern) if path.suffix != ".tmp"]
    return {str(path.relative_to(folder)): digest(path) for path in paths}


def digest(path: Path) -> str:
    """SHA-256 of a file's bytes; of a checkpoint's values, whose order a resumed optimiser changes."""
    sha = hashlib.sha256()
    if path.suffix not in (".pth", ".pt"):
        sha.update(path.read_bytes())
    else:
        for name, value in flat(torch.load(path, weights_only=True)):
            sha.update(name.encode())
            sha.update(value.contiguous().numpy().tobytes() if isinstance(value, torch.Tensor) else repr(value).encode())
    return sha.hexdigest()


def flat(content: object, name: str = "") -> Iterator[tuple[str, object]]:
    """The values of nested dicts and lists with their names, in the order of the names."""
    if isinstance(content, dict):
        for key in sorted(content, key=str):
            yield from flat(content[key], f"{name}.{key}")
    elif isinstance(content, list | tuple):
        for i, value in enumerate(content):
            yield from flat(value, f"{name}.{i}")
    else:
        yield name, content


def remove(folder: Path, patterns: tuple[str, ...]) -> None:
    """Removes the results, and whatever else such a run leaves, so that the next run starts from nothing."""
    for pattern in patterns:
        for path in list(folder.glob(pattern)):
            path.unlink()
    if "dict/*" in patterns:
        for name in ("dict", "vis"):
            shutil.rmtree(folder / name, ignore_errors=True)
            (folder / f"{name}.made_with.json").unlink(missing_ok=True)
    else:
        shutil.rmtree(folder, ignore_errors=True)
