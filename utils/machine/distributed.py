"""Ranks: the one module that knows that a run may have several processes.

A run is one process, or as many as torchrun started (https://docs.pytorch.org/docs/stable/elastic/run.html), or as many as
`in_processes` starts itself: one for every GPU it sees, or `--nproc` of them.
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
"""How long a process waits for the others: scoring shares differ in length."""
SHUTDOWN_SECONDS = 25
"""How long processes that are asked to stop may take to finish their step and save."""
HEAD_START_SECONDS = 3.0
RUN_ID_PREFIX = "dig-"
RUN_ID = f"{RUN_ID_PREFIX}{os.getpid()}"
LOST_PEER = re.compile(r"gloo|NCCL|by peer|Connection (reset|refused)|Broken pipe", re.IGNORECASE)
"""What collective operations say when another process is gone."""


def world_size() -> int:
    """How many processes the run has, on all machines."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def rank() -> int:
    """The number of this process, from 0."""
    return int(os.environ.get("RANK", "0"))


def local_rank() -> int:
    """The number of this process among those of its machine."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def local_world_size() -> int:
    """How many processes of the run this machine has."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def is_main() -> bool:
    """Whether this process writes what the run writes once."""
    return rank() == 0


def restarted_job() -> str:
    """The job of torchrun's that this process may be a restart of; empty where it is none.

    On several machines restarts are not counted alike, so that every start may be one.
    """
    restarted = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0
    several = os.environ.get("GROUP_WORLD_SIZE", "1") != "1"
    return job() if restarted or several else ""


def job() -> str:
    """The name of torchrun's job, which its restarts share; empty without torchrun."""
    return os.environ.get("TORCHELASTIC_RUN_ID", "")


@contextlib.contextmanager
def process_group(device: torch.device, nproc: int, writes: Sequence[Path] = ()) -> Iterator[None]:
    """Joins the processes of the run for the length of a block, in which no other run writes to the same places.

    Args:
        device: what this process computes on.
        nproc: processes that were asked for on this machine; 0 where their number was left open.
        writes: folders and files that the run writes to.

    Raises:
        InputError: torchrun started another number of processes, the device knows no collective operations, or another run
            writes to the same places.
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
            # Only at a good end: after an error the others may never come.
            dist.destroy_process_group()


@contextlib.contextmanager
def shared_by_all(writes: Sequence[Path], locks: Sequence[Lock]) -> Iterator[None]:
    """Has every process hold the main one's locks: those that outlive it may still write."""
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
    """Sets up collective operations on a device."""
    if device.type == "cpu":
        torch.set_num_threads(max(1, available_cores() // local_world_size()))
    backend, own = ("cpu:gloo,cuda:nccl", device) if device.type == "cuda" else ("gloo", None)
    store, _, _ = next(dist.rendezvous("env://", timeout=TIMEOUT))
    store = dist.PrefixStore(meeting_place(), store)
    dist.init_process_group(backend, timeout=TIMEOUT, store=store, rank=rank(), world_size=world_size(), device_id=own)


def meeting_place() -> str:
    """Where in torchrun's store the processes find each other.

    On one machine torchrun keeps its store when it restarts a run, with the addresses of processes that are gone; so every
    attempt has a place of its own. On several machines attempts are not counted alike: there
    TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 makes torchrun start with a new store.
    """
    alone = os.environ.get("GROUP_WORLD_SIZE", "1") == "1"
    return f"attempt {os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}" if alone else "run"


def barrier() -> None:
    """Waits until every process is here."""
    gather(None)  # on the CPU, where a process that waits notices that another has died


def require_common_start(step: Any) -> None:
    """Raises InputError where the processes would start from different places."""
    if dist.is_initialized():
        starts = gather(step)
        if len(set(starts)) > 1:
            raise InputError(
                f"the processes would start from different places, {starts}: all machines must see the same experiment "
                "folder, and on several machines --overwrite must not be given again"
            )


@contextlib.contextmanager
def first_on_each_machine() -> Iterator[None]:
    """Lets one process of each machine run a block before the others, for which it may leave a cache."""
    if local_rank() > 0:
        barrier()
    yield
    if local_rank() == 0:
        barrier()


def shard(items: SequenceT) -> SequenceT:
    """This process's items of a list or an array: each belongs to exactly one process, whatever their number."""
    return items[rank() :: world_size()]  # type: ignore[return-value]


def shard_rows(batch: Tensor) -> Tensor:
    """This process's rows of a tensor for the whole batch: (B, ...) -> (B / processes, ...)."""
    return batch.chunk(world_size())[rank()]


def local_batch_size(batch_size: int) -> int:
    """How many images of a batch this process takes.

    Raises:
        InputError: they cannot be dealt out evenly.
    """
    if batch_size % world_size():
        raise InputError(
            f"--batch-size {batch_size} is for all processes together; {world_size()} of them do not divide it: "
            "give another size, or fewer processes with --nproc"
        )
    return batch_size // world_size()


def require_equal_parts(batch_size: int, accum: int) -> None:
    """Raises InputError where this process's images of a batch cannot go through a network in so many equal parts."""
    if local_batch_size(batch_size) % accum:
        raise InputError(f"--accum {accum} does not divide the {local_batch_size(batch_size)} images of a step")


def wrap_ddp(module: nn.Module, device: torch.device) -> nn.Module:
    """A module whose gradients are averaged over all processes; the module itself where there is only one."""
    if world_size() == 1:
        return module
    ids = [device.index] if device.type == "cuda" else None
    # Buffers are tables that never change. Unless it looks for unused parameters, DDP reorders its sums of gradients after
    # the first step; a resumed run of three processes or more would then end in other bits.
    # Gradients lie in the buffers that are sent: a copy of them less.
    return DistributedDataParallel(
        module, ids, forward_sync_buffers=False, find_unused_parameters=True, gradient_as_bucket_view=True
    )


def unwrap(module: nn.Module) -> nn.Module:
    """The module inside `wrap_ddp`'s."""
    return module.module if isinstance(module, DistributedDataParallel) else module


def unsynchronized(module: nn.Module) -> contextlib.AbstractContextManager:
    """Context in which gradients of `wrap_ddp`'s module are only added up here, for a later backward to average."""
    return module.no_sync() if isinstance(module, DistributedDataParallel) else contextlib.nullcontext()


def mean_over_processes(values: Tensor) -> Tensor:
    """The mean of every process's tensor, on the device."""
    if dist.is_initialized():
        dist.all_reduce(values)
        values /= world_size()
    return values


def gather(item: Any) -> list:
    """Every process's item, in the order of ranks."""
    items = [item] * world_size()
    if dist.is_initialized():
        dist.all_gather_object(items, item)
    return items


def most_urgent(request: int) -> int:
    """The most urgent request of any process (`utils.machine.interruptions`): all save and stop after the same step."""
    if not dist.is_initialized():
        return request
    requests = torch.tensor(request)  # on the CPU: no device is waited for
    dist.all_reduce(requests, dist.ReduceOp.MAX)
    return int(requests)


def sum_over_processes(counts: np.ndarray) -> np.ndarray:
    """The sum of every process's integer array."""
    if dist.is_initialized():
        total = torch.from_numpy(counts)
        dist.all_reduce(total)
        return total.numpy()
    return counts


def in_processes(
    main: Callable[[list[str]], None], shards_of: Callable[[list[str]], int] | None = None
) -> Callable[[list[str]], None]:
    """A script's `main` as `run_script` takes it, run here or in several processes of this machine.

    `--nproc` says how many; by default it is one for every GPU, or for as many of them as a batch can be dealt out to.

    Args:
        main: takes the command line.
        shards_of: from the command line, a number that the number of processes must divide; None where any number will do.
    """

    def start(args: list[str]) -> None:
        if "TORCHELASTIC_RUN_ID" in os.environ:
            with reported_to_launcher():
                main(args)
        elif {"-h", "--help"} & {*args} or (count := wanted_processes(args, shards_of)) == 1:
            main(args)
        else:
            launch(count)

    return start


def wanted_processes(args: Sequence[str], shards_of: Callable[[list[str]], int] | None = None) -> int:
    """The number of processes that a command line asks for, before its other flags are read.

    Args:
        args: the command line.
        shards_of: see `in_processes`.

    Raises:
        InputError: `--nproc` is no number, or there are fewer GPUs.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--nproc", default="0")
    parser.add_argument("--device", default="auto")
    try:
        asked, _ = parser.parse_known_args(args)
    except argparse.ArgumentError:
        return 1  # a flag without its value: the script's own parser will say so
    if not asked.nproc.isdigit():
        raise InputError(f"--nproc must be a number of processes, got {asked.nproc!r}")
    gpus = torch.cuda.device_count() if asked.device in ("auto", "cuda") else 0
    if gpus and int(asked.nproc) > gpus:
        raise InputError(f"--nproc {asked.nproc}: PyTorch sees {gpus} GPUs here; --device cpu does without them")
    if int(asked.nproc) or gpus <= 1 or shards_of is None:
        return int(asked.nproc) or max(1, gpus)
    shards = shards_of([*args])
    count = max(n for n in range(1, gpus + 1) if shards % n == 0)
    if count < gpus:
        print(f"using {count} of {gpus} GPUs: more of them cannot share a batch of {shards} evenly", file=sys.stderr)
    return count


def launch(count: int) -> None:
    """Runs this command in several processes, as torchrun does, and ends all when one fails.

    Raises:
        InputError: one was given something wrong; the message is the first one's.
        ProcessFailed: one failed otherwise.
    """
    # These take a second to import, and runs of one process do without them.
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # no hints on how DistributedDataParallel was set up
    logging.disable(logging.CRITICAL)  # of the launcher's own messages; this process has no others
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
    """Whether `launch` started this process, which then speaks for it."""
    return os.environ.get("TORCHELASTIC_RUN_ID", "").startswith(RUN_ID_PREFIX)


@contextlib.contextmanager
def reported_to_launcher() -> Iterator[None]:
    """Lets the process that failed first speak for all, and tells `launch` what was wrong."""
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
            time.sleep(HEAD_START_SECONDS)  # if rank 0 has the same to say, torchrun ends this process meanwhile
        raise
    except Exception as error:
        if LOST_PEER.search(str(error)):
            time.sleep(HEAD_START_SECONDS)  # the process that was lost is the one to be named
        raise
