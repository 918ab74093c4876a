"""Small good inputs of every kind, damaged at random: each is refused in one line that names it, or read as it stands."""

import contextlib
import os
import random
import resource
import signal
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch

from utils.errors import InputError

from . import Tally
from .damage import mutate
from .inputs import Kind, make_kinds

SECONDS = 60
MOST_MEMORY = 2 << 30
"""How much the largest amount of memory used may grow through one file of a few kilobytes, in bytes."""


class Hang(BaseException):
    """A file kept its reader busy for too long; no reader may catch it."""


def try_mutations(count: int, seed: int, folder: Path) -> Tally:
    """Damages files and reads them as the scripts do.

    Args:
        count: of damaged files; the kinds take turns.
        seed: of the damage.
        folder: empty; the files go there.

    Returns:
        As survived: those that were refused by an `InputError` of one line that names the file, and those that were read as
        another reader does.
    """
    rng = random.Random(seed)
    survived, failures = 0, []
    with mock.patch.dict(os.environ, {"XDG_CACHE_HOME": str(folder / "cache")}):
        kinds = make_kinds(folder)
        names = list(kinds)
        good = {name: [path.read_bytes() for path in (kind.path, *kind.others)] for name, kind in kinds.items()}
        for i in range(count):
            name = names[i % len(names)]
            data, damage = mutate(rng.choice(good[name]), rng.choice(good[rng.choice([name] * 3 + names)]), rng)
            problem = judge(kinds[name], data, i)
            kinds[name].path.write_bytes(good[name][0])
            if problem is None:
                survived += 1
            else:
                (folder / f"failure-{i}").write_bytes(data)
                failures.append(f"{i} {name} {damage}: {problem}")
    return Tally(count, survived, failures)


def judge(kind: Kind, data: bytes, number: int) -> str | None:
    """What went wrong in reading a damaged file; None where nothing did."""
    kind.path.write_bytes(data)
    os.utime(kind.path, ns=(number, number))  # none is taken for one before it that is cached
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
    try:
        with alarm(SECONDS), warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            found, expected = kind.read(kind.path)
    except InputError as error:
        message = str(error)
        if "\n" in message:
            return f"a message of several lines: {message!r}"
        if kind.path.stem not in message and "the annotations of" not in message:
            return f"a message without the file: {message}"
    except Hang:
        return f"more than {SECONDS} s"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    else:
        if not same(found, expected):
            return f"read as {str(found)[:200]!r}, not {str(expected)[:200]!r}"
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10) - before
    return f"{grown} bytes of memory" if grown > MOST_MEMORY else None


@contextlib.contextmanager
def alarm(seconds: int) -> Iterator[None]:
    """Raises `Hang` in the block after some time."""

    def ring(number: int, frame: object) -> None:
        raise Hang

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def same(a: Any, b: Any) -> bool:
    """Whether two readings agree, to the bit."""
    if isinstance(a, np.ndarray | torch.Tensor):
        return type(a) is type(b) and a.shape == b.shape and a.dtype == b.dtype and bool((a == b).all())
    if isinstance(a, dict):
        return isinstance(b, dict) and list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return isinstance(b, list | tuple) and len(a) == len(b) and all(map(same, a, b))
    return a == b or (a != a and b != b)
