"""Distributed runs: ranks, the process group, sharding, and collective operations.

A run has one process, or those that torchrun started (https://docs.pytorch.org/docs/stable/elastic/run.html), or those that
`in_processes` starts: one per visible GPU, or `--nproc`.
"""

import argparse
import contextlib
import datetime
import json
import logging
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ..errors import InputError, ProcessFailed, Stopped, innermost_message
from .cores import available_cores
from .interruptions import SIGNALS
from .locks import LEASE_SECONDS, Lock, writing

SequenceT = TypeVar("SequenceT", bound=Sequence | np.ndarray)
TIMEOUT = datetime.timedelta(minutes=30)
"""How long a process waits for the others; their shards take different times to score."""
SHUTDOWN_SECONDS = 25
"""How long processes may take to finish their step and save after a request to stop."""
HEAD_START_SECONDS = 3.0
RUN_ID_PREFIX = "dig-"
RUN_ID = f"{RUN_ID_PREFIX}{os.getpid()}"
LOST_PEER = re.compile(r"gloo|NCCL|by peer|Connection (reset|refused)|Broken pipe", re.IGNORECASE)
"""Matches the errors of collective operations when another process is gone."""


def world_size() -> int:
    """Number of processes of the run, on all machines."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def rank() -> int:
    """Rank of this process, from 0."""
    return int(os.environ.get("RANK", "0"))


def local_rank() -> int:
    """Rank of this process on its machine, from 0."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def local_world_size() -> int:
    """Number of processes of the run on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def is_main() -> bool:
    """Whether this is rank 0, which writes logs and checkpoints."""
    return rank() == 0


def restarted_job() -> str:
    """The torchrun job that this process may be a restart of; empty if it is not a restart.

    On several machines the agents' restart counts can differ, so every start is treated as a possible restart.
    """
    restarted = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0
    several = os.environ.get("GROUP_WORLD_SIZE", "1") != "1"
    return job() if restarted or several else ""


def job() -> str:
    """The name of the torchrun job, the same after a restart; empty without torchrun."""
    return os.environ.get("TORCHELASTIC_RUN_ID", "")


@contextlib.contextmanager
def process_group(device: torch.device, nproc: int, writes: Sequence[Path] = ()) -> Iterator[None]:
    """Context with an initialised process group and locks on everything that the run writes.

    Args:
        device: the device of this process.
        nproc: `--nproc`; 0: any number of processes.
        writes: folders and files that the run writes to.

    Raises:
        InputError: torchrun started another number of processes, the device has no collective operations, or another run
            holds one of the locks.
    """
    if nproc not in (0, local_world_size()):
        raise InputError(f"--nproc {nproc}, but torchrun started {local_world_size()} processes: leave one of them out")
    if world_size() > 1 and device.type == "mps":
        raise InputError("--device mps runs in one process only")
    patience = LEASE_SECONDS if restarted_job() else None
    with writing(*writes if is_main() else (), patience=patience) as locks:
        if world_size() == 1:
            yield
        else:
            join_processes(device)
            with shared_by_all(writes, locks):
                yield
            # Only without an error: after one, the others may never arrive, and this would wait for them.
            dist.destroy_process_group()


@contextlib.contextmanager
def shared_by_all(writes: Sequence[Path], locks: Sequence[Lock]) -> Iterator[None]:
    """Makes every process hold the main process's locks, because a process that outlives it may still write."""
    for lock in locks:
        lock.share()
    barrier()
    own = [] if is_main() else [Lock(target) for target in writes]
    try:
        for lock in own:
            lock.share()
        barrier()
        yield
    finally:
        for lock in own:
            lock.release()


def join_processes(device: torch.device) -> None:
    """Initialises the process group for a device."""
    if device.type == "cpu":
        torch.set_num_threads(max(1, available_cores() // local_world_size()))
    backend, own = ("cpu:gloo,cuda:nccl", device) if device.type == "cuda" else ("gloo", None)
    store, _, _ = next(dist.rendezvous("env://", timeout=TIMEOUT))
    store = dist.PrefixStore(meeting_place(), store)
    dist.init_process_group(backend, timeout=TIMEOUT, store=store, rank=rank(), world_size=world_size(), device_id=own)


def meeting_place() -> str:
    """Prefix of the keys in torchrun's store by which the processes find each other.

    On one machine torchrun keeps its store at a restart, with the addresses of dead processes; so each attempt has its own
    prefix. On several machines the agents' restart counts can differ, so the prefix is fixed, and
    TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 must make torchrun use a new store.
    """
    alone = os.environ.get("GROUP_WORLD_SIZE", "1") == "1"
    return f"attempt {os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}" if alone else "run"


def barrier() -> None:
    """Waits for all processes."""
    gather(None)  # on the CPU, where a waiting process notices that another has died


def require_common_start(step: Any) -> None:
    """Raises InputError if the processes would start from different steps.

    Args:
        step: the point from which this process starts, comparable between processes.
    """
    if dist.is_initialized():
        starts = gather(step)
        if len(set(starts)) > 1:
            raise InputError(
                f"the processes would start from different places, {starts}: all machines must see the same experiment "
                "folder, and on several machines --overwrite must not be given again"
            )


@contextlib.contextmanager
def first_on_each_machine() -> Iterator[None]:
    """Context that the first process of each machine runs before the others, which can then use its cache."""
    if local_rank() > 0:
        barrier()
    yield
    if local_rank() == 0:
        barrier()


def shard(items: SequenceT) -> SequenceT:
    """This process's shard of a list or an array: every item belongs to exactly one process."""
    return items[rank() :: world_size()]  # type: ignore[return-value]


def shard_rows(batch: Tensor) -> Tensor:
    """This process's shard of a batch: (B, ...) -> (B / world size, ...)."""
    return batch.chunk(world_size())[rank()]


def local_batch_size(batch_size: int) -> int:
    """Number of images of a batch for each process.

    Raises:
        InputError: the number of processes does not divide the batch.
    """
    if batch_size % world_size():
        raise InputError(
            f"--batch-size {batch_size} is for all processes together; {world_size()} of them do not divide it: "
            "give another size, or fewer processes with --nproc"
        )
    return batch_size // world_size()


def require_equal_parts(batch_size: int, accum: int) -> None:
    """Raises InputError if `accum` does not divide the images of a batch for each process."""
    if local_batch_size(batch_size) % accum:
        raise InputError(f"--accum {accum} does not divide the {local_batch_size(batch_size)} images of a step")


def wrap_ddp(module: nn.Module, device: torch.device) -> nn.Module:
    """Wraps a module in DistributedDataParallel; with one process, returns the module itself."""
    if world_size() == 1:
        return module
    ids = [device.index] if device.type == "cuda" else None
    # Buffers are constant, so they need no synchronisation. Without find_unused_parameters, DDP reorders its buckets after
    # the first step, and a resumed run of three or more processes would not be bit-identical. gradient_as_bucket_view saves
    # a copy of the gradients.
    return DistributedDataParallel(
        module, ids, forward_sync_buffers=False, find_unused_parameters=True, gradient_as_bucket_view=True
    )


def unsynchronized(module: nn.Module) -> contextlib.AbstractContextManager:
    """Context in which gradients accumulate locally; the next backward pass outside of it averages them over processes."""
    return module.no_sync() if isinstance(module, DistributedDataParallel) else contextlib.nullcontext()


def mean_over_processes(values: Tensor) -> Tensor:
    """The mean of a tensor over all processes, on its device; changes the tensor in place."""
    if dist.is_initialized():
        dist.all_reduce(values)
        values /= world_size()
    return values


def gather(item: Any) -> list:
    """The items of all processes, in the order of ranks."""
    items = [item] * world_size()
    if dist.is_initialized():
        dist.all_gather_object(items, item)
    return items


def most_urgent(request: int) -> int:
    """The most urgent request of all processes (`utils.machine.interruptions`), so that all stop after the same step."""
    if not dist.is_initialized():
        return request
    requests = torch.tensor(request)  # on the CPU, so as not to wait for the device
    dist.all_reduce(requests, dist.ReduceOp.MAX)
    return int(requests)


def sum_over_processes(counts: np.ndarray) -> np.ndarray:
    """The sum of an integer array over all processes."""
    if dist.is_initialized():
        total = torch.from_numpy(counts)
        dist.all_reduce(total)
        return total.numpy()
    return counts


def in_processes(
    main: Callable[[list[str]], None], shared_batch: Callable[[list[str]], int] | None = None
) -> Callable[[list[str]], None]:
    """Wraps a script's `main`, so that it runs in this process or in several processes of this machine.

    `--nproc` is their number; by default one per GPU, or as many GPUs as divide the batch.

    Args:
        main: takes the command line.
        shared_batch: from the command line to the number of images that processes share evenly; None: any
            number of processes will do.

    Returns:
        A function for `run_script`.
    """

    def start(args: list[str]) -> None:
        if "TORCHELASTIC_RUN_ID" in os.environ:
            with reported_to_launcher():
                main(args)
        elif {"-h", "--help"} & {*args} or (count := wanted_processes(args, shared_batch)) == 1:
            main(args)
        else:
            launch(count)

    return start


def wanted_processes(args: Sequence[str], shared_batch: Callable[[list[str]], int] | None = None) -> int:
    """The number of processes to start for a command line; reads only the flags that it needs.

    Args:
        args: the command line.
        shared_batch: see `in_processes`.

    Raises:
        InputError: `--nproc` is no number, or larger than the number of GPUs.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--nproc", default="0")
    parser.add_argument("--device", default="auto")
    try:
        asked, _ = parser.parse_known_args(args)
    except argparse.ArgumentError:
        return 1  # a flag without its value: the script's own parser reports it
    if not asked.nproc.isdigit():
        raise InputError(f"--nproc must be a number of processes, got {asked.nproc!r}")
    gpus = torch.cuda.device_count() if asked.device in ("auto", "cuda") else 0
    if gpus and int(asked.nproc) > gpus:
        raise InputError(f"--nproc {asked.nproc}: PyTorch sees {gpus} GPUs here; --device cpu does without them")
    if int(asked.nproc) or gpus <= 1 or shared_batch is None:
        return int(asked.nproc) or max(1, gpus)
    batch = shared_batch([*args])
    count = max(n for n in range(1, gpus + 1) if batch % n == 0)
    if count < gpus:
        print(f"using {count} of {gpus} GPUs: more of them cannot share a batch of {batch} evenly", file=sys.stderr)
    return count


def launch(count: int) -> None:
    """Runs this command in several processes, as torchrun does, and ends all of them if one fails.

    Raises:
        InputError: the first process to fail had wrong input; the message is that process's.
        ProcessFailed: the first process to fail did so for another reason.
        Stopped: a signal stopped the run.
    """
    # Imported here, because they take a second and runs of one process do not need them.
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # hides DistributedDataParallel's hints on its settings
    logging.disable(logging.CRITICAL)  # hides the launcher's messages; this process logs nothing else
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=count,
        run_id=RUN_ID,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        local_addr="localhost",
        max_restarts=0,
        shutdown_timeout=SHUTDOWN_SECONDS,
    )
    try:
        elastic_launch(config, sys.executable)(*sys.argv)
    except SignalException as stop:
        raise Stopped(stop.sigval) from None
    except ChildFailedError as error:
        number, failure = error.get_first_failure()
        if failure.exitcode == 2 and isinstance(failure.message, str):
            raise InputError(failure.message) from error
        if failure.exitcode - 128 in SIGNALS:
            raise Stopped(failure.exitcode - 128) from error
        if failure.exitcode < 0:
            name = signal.Signals(-failure.exitcode).name
            reason = f"was ended by {name}" + (", perhaps for lack of memory" if name == "SIGKILL" else "")
        else:
            reason = f"failed with exit code {failure.exitcode}"
        raise ProcessFailed(f"process {number} of {count} {reason}; the others were stopped") from error


def launched_here() -> bool:
    """Whether `launch`, and not torchrun, started this process; `launch` then prints the error."""
    return os.environ.get("TORCHELASTIC_RUN_ID", "").startswith(RUN_ID_PREFIX)


@contextlib.contextmanager
def reported_to_launcher() -> Iterator[None]:
    """Context of `main` in one of several processes: only the first process that fails prints its error."""
    try:
        yield
    except Stopped as stop:
        if launched_here():
            sys.exit(128 + stop.number)
        raise
    except InputError as error:
        if launched_here():
            report = {"message": innermost_message(error), "timestamp": int(time.time())}
            Path(os.environ["TORCHELASTIC_ERROR_FILE"]).write_text(json.dumps(report))
            sys.exit(2)
        if not is_main():
            time.sleep(HEAD_START_SECONDS)  # rank 0 may fail with the same error; torchrun then ends this process first
        raise
    except Exception as error:
        if LOST_PEER.search(str(error)):
            time.sleep(HEAD_START_SECONDS)  # so that the process that died first is reported, not this one
        raise
