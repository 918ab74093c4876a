"""Damage to the last checkpoint of a run: the same command ends in the bits of a run that was never disturbed."""

import contextlib
import io
import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import torch

import train_diffusion
import train_trm
from tests.helpers.toy_data import make_toy_voc
from utils.errors import InputError
from utils.files import previous_file
from utils.training.checkpoint import load_file
from utils.training.engine import Training

from . import Tally

TRAIN = (
    "--exp dig_nano --input-size 32 --infer-size 0 --embed-dim 16 --depth 2 --num-heads 2 --diffusion_weights random "
    "--diffusion-dim 8 --feature-steps 0 2 --batch-size 2 --epochs 2 --drop-path 0.3 --ckpt_minutes 0 --device cpu "
    "--num_workers 0"
)
DENOISER = (
    "--dim 8 --image-size 16 --batch-size 4 --num-samples 4 --sample-steps 2 --steps 4 --sample-every 1 --print-freq 2 "
    "--ckpt_minutes 0 --device cpu --num_workers 0"
)
BOTH_EVERY = 4
"""Of so many tries, one damages the checkpoint before the last as well."""


def try_damaged_checkpoints(count: int, seed: int, folder: Path) -> Tally:
    """Damages the last checkpoint of runs that were stopped, and gives the same command again.

    Args:
        count: of damaged runs.
        seed: of the damage.
        folder: empty; the runs go there.

    Returns:
        As survived: those that ended in the same bits and said that a checkpoint was damaged; and, where the checkpoint
        before was damaged too, those that were refused by one line with its name, with every file still there.
    """
    data = make_toy_voc(folder / "VOC2012")
    rng, survived, failures = random.Random(seed), 0, []
    with mock.patch.dict(os.environ, {"XDG_CACHE_HOME": str(folder / "cache")}):
        stopped = {
            **{name: (train, data) for name in stopped_trainings(folder, data)},
            **{name: (train_denoiser, data) for name in stopped_denoisers(folder, data)},
        }
        names = list(stopped)
        for i in range(count):
            name = names[i % len(names)]
            main, data = stopped[name]
            place = folder / f"try-{i}"
            shutil.copytree(folder / name, place)
            last = place / "run" / "ckpt" / "last.pth"
            both = i % BOTH_EVERY == BOTH_EVERY - 1
            if both:
                done = [spoil(path, rng, HARMFUL) for path in (last, previous_file(last))]
            else:
                done = [spoil(last, rng, DAMAGES)]
            problem = (refused if both else resumed)(main, place, data, folder / "whole")
            if problem is None:
                survived += 1
            else:
                failures.append(f"{i} {name} {' '.join(done)}: {problem}")
            shutil.rmtree(place)
    return Tally(count, survived, failures)


def train(place: Path, data: Path) -> None:
    """The command of the training."""
    with contextlib.redirect_stdout(io.StringIO()):
        train_trm.main(f"--name run --experiments {place} --data-path {data} {TRAIN}".split())


def train_denoiser(place: Path, data: Path) -> None:
    """The command of the denoiser's training."""
    images = data / "JPEGImages"
    with contextlib.redirect_stdout(io.StringIO()):
        train_diffusion.main(
            f"--name run --experiments {place} --data {images} --out {place / 'denoiser.pt'} {DENOISER}".split()
        )


def stopped_trainings(folder: Path, data: Path) -> Iterator[str]:
    """Trains undisturbed, and copies the run as it is after its first epoch and in the middle of its second."""
    original = Training.save

    def save(training: Training) -> None:
        original(training)
        name = {(0, 2): "after epoch 0", (1, 1): "in epoch 1"}.get((training.epoch, training.steps_done))
        if name:
            shutil.copytree(folder / "whole" / "run", folder / name / "run")

    with mock.patch.object(Training, "save", save):
        train(folder / "whole", data)
    yield from ("after epoch 0", "in epoch 1")


def stopped_denoisers(folder: Path, data: Path) -> Iterator[str]:
    """Trains a denoiser undisturbed, and copies the run as it is after its second step."""
    original = train_diffusion.DenoiserTraining.save

    def save(training: train_diffusion.DenoiserTraining) -> None:
        original(training)
        if training.step == 2:
            shutil.copytree(folder / "whole-denoiser" / "run", folder / "after step 2" / "run")

    with mock.patch.object(train_diffusion.DenoiserTraining, "save", save):
        train_denoiser(folder / "whole-denoiser", data)
    (folder / "whole-denoiser" / "denoiser.pt").rename(folder / "whole" / "denoiser.pt")
    yield "after step 2"


def truncate(path: Path, rng: random.Random) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: rng.randrange(len(data))])


def flip_bit(path: Path, rng: random.Random) -> None:
    data = bytearray(path.read_bytes())
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    path.write_bytes(data)


def zero_block(path: Path, rng: random.Random) -> None:
    data = bytearray(path.read_bytes())
    start = rng.randrange(len(data))
    size = min(4096, len(data) - start)
    data[start : start + size] = bytes(size)
    path.write_bytes(data)


def empty(path: Path, rng: random.Random) -> None:
    path.write_bytes(b"")


def delete(path: Path, rng: random.Random) -> None:
    path.unlink()


HARMFUL = (truncate, empty)
DAMAGES = (truncate, flip_bit, zero_block, empty, delete)


def spoil(path: Path, rng: random.Random, damages: tuple[Callable, ...]) -> str:
    """Damages a file; returns how."""
    damage = rng.choice(damages)
    damage(path, rng)
    return damage.__name__


def resumed(main: Callable, place: Path, data: Path, whole: Path) -> str | None:
    """What is wrong with a run that goes on after damage; None for nothing."""
    last = place / "run" / "ckpt" / "last.pth"
    try:
        load_file(last)
        good = True
    except InputError:
        good = False
    try:
        main(place, data)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    result = "denoiser.pt" if main is train_denoiser else "run/ckpt/001net_trm.pth"
    if not equal(load_file(whole / result), load_file(place / result)):
        return "it ended in other bits"
    said = "last.previous.pth" in (place / "run" / "log.txt").read_text()
    return None if said != good else f"its log {'warns' if said else 'does not warn'}"


def refused(main: Callable, place: Path, data: Path, whole: Path) -> str | None:
    """What is wrong with the refusal of a run that has no good checkpoint left; None for nothing."""
    files = {path: path.read_bytes() for path in (place / "run").rglob("*") if path.suffix in (".pth", ".json")}
    try:
        main(place, data)
    except InputError as error:
        if "last" not in str(error) or "\n" in str(error):
            return f"the message {str(error)!r}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    else:
        return "it went on"
    lost = [path.name for path, content in files.items() if not path.is_file() or path.read_bytes() != content]
    return f"{' '.join(lost)} changed" if lost else None


def equal(a: object, b: object) -> bool:
    """Whether two checkpoints hold the same bits."""
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and torch.equal(a, b)
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return isinstance(b, list | tuple) and len(a) == len(b) and all(map(equal, a, b))
    return a == b
