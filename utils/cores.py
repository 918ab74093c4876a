"""How many processes to use."""

import os

MOST_LOADERS = 8


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def loader_count(asked: int) -> int:
    """Processes that load images: as many as asked for; for -1, one per core and no more than 8."""
    return asked if asked >= 0 else min(available_cores(), MOST_LOADERS)
