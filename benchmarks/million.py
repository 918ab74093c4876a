"""A million images on four machines with eight GPUs each, by simulation: python -m benchmarks.million

Writes its tables into docs/scaling.md. Seconds and bytes per image are measured on two CPU cores (docs/scaling.md); storage
and GPUs are assumptions, which the tables name.
"""

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from utils.errors import InputError, run_script

from .pages import write_between

PAGE = Path(__file__).parents[1] / "docs" / "scaling.md"
START, END = "<!-- simulated: python -m benchmarks.million -->", "<!-- end of the simulation -->"
STEPS = 60
"""Simulated training steps; the first third fills the queues and is not counted."""


@dataclass(frozen=True)
class Storage:
    """Storage of the images, shared by all machines."""

    name: str
    latency: float  # seconds from the request of a file to its first byte
    operations: float  # file operations per second
    bandwidth: float  # bytes per second


@dataclass(frozen=True)
class Cluster:
    """The GPUs that train, and the processes that load their images."""

    gpus: int = 32
    workers: int = 8  # loading processes per GPU, with one core each
    batch: int = 32  # images per step and GPU
    step: float = 0.35  # seconds; see `GUIDANCE`


@dataclass(frozen=True)
class Images:
    """The images, and the cost of reading one."""

    count: int = 10**6
    size: int = 111_621  # bytes, the mean of 1,200 photographs of VOC
    decode: float = 0.0043  # core-seconds per image, with the crop and its augmentation
    operations: int = 3  # per image: look up, open, close; in a shard that is open already: one, which reads


@dataclass(frozen=True)
class Rate:
    """Simulated speed of a training run."""

    images: float  # per second
    share: float  # of the speed of GPUs that never wait
    limit: str  # the busiest resource


STORAGES = (
    Storage("local NVMe disks", 0.0001, 400_000, 12e9),
    Storage("parallel file system", 0.001, 20_000, 10e9),
    Storage("NFS server", 0.002, 5_000, 1.2e9),
    Storage("object store as a file system", 0.03, 3_500, 5e9),
)
GUIDANCE = {"exact": 0.35, "shared": 0.15}
"""Seconds of a step: the middle of what docs/performance.md estimates for an A100 in bfloat16."""
WAYS = {"a file an image": Images(), "shards": Images(operations=1)}


def main(args: list[str]) -> None:
    if args:
        raise InputError(f"python -m benchmarks.million takes no flags, got {args[0]}")
    text = f"{reading_table()}\n{other_table()}"
    write_between(PAGE, START, END, text)
    print(text)


def reading_table() -> str:
    """Table of training speed by storage and guidance, with one file per image and with shards."""
    ways = [(guidance, way) for way in WAYS for guidance in GUIDANCE]
    names = [f"{guidance} guidance, {way}" for guidance, way in ways]
    lines = [f"| images a second | operations a second, latency, bandwidth | {' | '.join(names)} |", "|---" * 6 + "|"]
    for storage in STORAGES:
        of_storage = f"{storage.operations:,.0f}, {1000 * storage.latency:g} ms, {storage.bandwidth / 1e9:g} GB/s"
        rates = [simulate(Cluster(step=GUIDANCE[guidance]), WAYS[way], storage) for guidance, way in ways]
        cells = [f"{rate.images:,.0f}, {rate.share:.0%} (limit: {rate.limit})" for rate in rates]
        lines.append(f"| {' | '.join([storage.name, of_storage, *cells])} |")
    return "\n".join(lines) + "\n"


def simulate(cluster: Cluster, images: Images, storage: Storage) -> Rate:
    """Training steps of all GPUs together, fed by processes that open, read and decode one image after another.

    All processes share one queue for opening and one for reading, first come, first served. A process may be two batches
    ahead of the GPUs. A step begins when the step before has ended and its images are loaded.
    """
    readers = cluster.gpus * cluster.workers
    of_step = cluster.gpus * cluster.batch
    ahead = 2 * of_step * cluster.workers  # prefetch_factor 2: two batches for each process
    opened = read = 0.0  # times at which the two queues are free
    free = [(0.0, worker) for worker in range(readers)]
    loaded: list[float] = []  # times at which the images of the step are loaded
    ends: list[float] = []  # end times of the steps
    for number in range(STEPS * of_step):
        now, worker = heapq.heappop(free)
        step_before = (number - ahead) // of_step  # this image waits until that step has taken its images
        if step_before >= 0:
            now = max(now, ends[step_before])
        opened = max(opened, now) + images.operations / storage.operations
        read = max(read, opened) + images.size / storage.bandwidth
        done = read + storage.latency + images.decode
        heapq.heappush(free, (done, worker))
        loaded.append(done)
        if len(loaded) == of_step:
            ends.append(max(max(loaded), ends[-1] if ends else 0.0) + cluster.step)
            loaded.clear()
    first = STEPS // 3
    rate = (STEPS - 1 - first) * of_step / (ends[-1] - ends[first])
    busy = {
        "GPUs": rate * cluster.step / of_step,
        "operations": rate * images.operations / storage.operations,
        "bandwidth": rate * images.size / storage.bandwidth,
        "processes that load": rate * (images.decode + storage.latency) / readers,
    }
    return Rate(rate, busy["GPUs"], max(busy, key=lambda name: busy[name]))


def other_table() -> str:
    """Table of the other costs of a million images, extrapolated from one image."""
    lines = ["| a million images | cost |", "|---|---|", *(f"| {what} | {cost} |" for what, cost in others(Images()))]
    return "\n".join(lines) + "\n"


def others(images: Images, cores: Sequence[int] = (16, 64)) -> Iterator[tuple[str, str]]:
    """Pairs of what is done and what it costs; `cores`: a small and a large number of cores."""
    n = images.count
    few, many = cores
    yield "photographs", f"{n * images.size / 1e9:,.0f} GB"
    yield f"first check, which decodes all of them once, {few} or {many} cores", minutes(n * CHECK, few, many)
    yield "each start from cached labels and checks, each process", f"{n * CACHED:.0f} s"
    yield "epoch of 32 GPUs that never wait", f"{n / (Cluster.gpus * Cluster.batch) * Cluster.step / 60:.0f} min"
    yield "CAMs of full size, 1.5 classes an image", f"{1.5 * n * FULL_CAM / 1e9:,.0f} GB in {n:,} files"
    yield "CAMs of patch size", f"{1.5 * n * PATCH_CAM / 1e9:,.1f} GB in {n:,} files"
    yield f"scoring at 99 thresholds, {few} or {many} cores", minutes(n * SCORE, few, many)
    yield "results to be listed when inference goes on", f"{n * MISSING:.0f} s"


def minutes(seconds: float, *cores: int) -> str:
    """Minutes on each number of cores."""
    return " or ".join(f"{seconds / count / 60:.1f}" for count in cores) + " min"


CHECK = 1.8e-3
"""Core-seconds per image: decoding it for the check."""
CACHED = 8e-5
"""Seconds per image at each start, with cached labels and checks."""
SCORE = 6.4e-3
"""Core-seconds per image: scoring at 99 thresholds."""
MISSING = 4.9e-6
"""Seconds per image: finding out which results are missing."""
FULL_CAM, PATCH_CAM = 375 * 500 * 4, 24 * 32 * 4
"""Bytes of the CAM of one class of an image."""


if __name__ == "__main__":
    run_script(main)
