"""Worker processes on this machine for independent tasks, such as one file per image."""

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, ThreadPoolExecutor, as_completed, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import chain
from typing import TypeVar

from ..errors import InputError, ignore_interrupt
from ..log import progress
from .cores import available_cores
from .interruptions import leave_process_group

Task = TypeVar("Task")
Result = TypeVar("Result")
AWAITED = 512
"""Tasks of a thread that are submitted at a time; each takes more than a kilobyte until its result is used."""


def in_parallel(
    work: Callable[[Task], Result], tasks: Sequence[Task], workers: int, description: str, together: int = 1
) -> Iterator[Result]:
    """Results of `work` for all tasks, in their order, with a progress bar.

    Args:
        work: a function that can be pickled.
        tasks: its arguments, one for each call.
        workers: number of processes, at least 1; -1: one per core.
        description: label of the progress bar.
        together: tasks sent to a process at a time; sending costs about a millisecond.

    Raises:
        InputError: a task raised it, or a process died.
    """
    wanted = available_cores() if workers < 0 else workers
    with worker_pool(max(1, min(wanted, len(tasks)))) as pool:
        yield from progress(pool.map(work, tasks, chunksize=together), description, len(tasks))


def in_threads(look: Callable[[Task], Result], things: Sequence[Task], description: str) -> Iterator[Result]:
    """Results of `look` for all things, in their order, from as many threads as cores."""
    together = AWAITED * available_cores()
    with ThreadPoolExecutor(available_cores()) as pool:
        try:
            parts = (pool.map(look, things[i : i + together]) for i in range(0, len(things), together))
            yield from progress(chain.from_iterable(parts), description, len(things))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


@contextlib.contextmanager
def in_background(workers: int) -> Iterator[Callable[..., None]]:
    """Yields a function `do(work, *args)` that runs work in the background; it waits only if too many tasks are pending.

    All tasks are done when the block ends without an error. An error of a task is raised by a later call or at the end.

    Args:
        workers: number of processes; 0: a thread of this process.

    Raises:
        InputError: a task raised it, or a process died.
    """
    pending: set[Future] = set()
    kept_waiting = 2 * max(1, workers)

    def do(work: Callable[..., None], *args: object) -> None:
        nonlocal pending
        if len(pending) >= kept_waiting:  # limits the memory of pending arguments
            done, pending = wait(pending, return_when=FIRST_COMPLETED)
            for future in done:
                future.result()
        pending.add(pool.submit(work, *args))

    with worker_pool(workers) if workers else ThreadPoolExecutor(1) as pool:
        yield do
        for future in as_completed(pending):
            future.result()


@contextlib.contextmanager
def worker_pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    """A pool of processes that ends with the block; tasks that have not started are cancelled.

    Raises:
        InputError: a process died.
    """
    with ProcessPoolExecutor(workers, initializer=start_worker) as pool:
        try:
            yield pool
        except BrokenProcessPool as error:
            raise InputError("a process died, perhaps for lack of memory: try fewer --num-workers") from error
        finally:
            pool.shutdown(cancel_futures=True)


def start_worker() -> None:
    """Initialiser of a worker: only its parent stops it, not a signal to the process group; it ends with its parent."""
    ignore_interrupt()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    leave_process_group(0)
    threading.Thread(target=end_with_parent, daemon=True).start()


def end_with_parent() -> None:
    """Ends this process when its parent is gone; otherwise it would wait for tasks for ever."""
    if parent := multiprocessing.parent_process():
        parent.join()
    os._exit(1)
