"""How many processes to use."""

import os

MOST_LOADERS = 8


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def loader_count(asked: int, processes: int = 1) -> int:
    """Workers that load images: as many as asked for; for -1, one per core and no more than 8.

    Args:
        asked: workers of one process, or -1.
        processes: of this machine among which its cores are shared.
    """
    return asked if asked >= 0 else min(max(1, available_cores() // processes), MOST_LOADERS)
