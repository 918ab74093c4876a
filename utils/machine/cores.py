"""CPU cores, and how many worker processes to use."""

import os

MOST_LOADERS = 8


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def loader_count(asked: int, processes: int = 1) -> int:
    """Number of worker processes that load images.

    Args:
        asked: workers of one process; -1: one per core, at most 8.
        processes: processes of this machine that share its cores.
    """
    return asked if asked >= 0 else min(max(1, available_cores() // processes), MOST_LOADERS)


def crf_count(asked: int, processes: int = 1) -> int:
    """Number of worker processes of a dense CRF; see `loader_count`, but without a limit."""
    return asked if asked >= 0 else max(1, available_cores() // processes)
