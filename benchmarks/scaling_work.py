"""The pieces of work whose growth `benchmarks.scaling` measures; each is a process that prints seconds and bytes."""

import contextlib
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import scaling_data

NANO = "--exp dig_nano --diffusion_weights random --vit_weights none --batch_size 4 --W 1 0 0 0 0 --device cpu"
"""Flags of a training whose steps take next to no time."""


def memory_of(pid: int | str = "self") -> dict[str, int]:
    """Memory of a process in bytes: `pss`, with shared pages divided among their processes, and `own`, its private pages."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    kilobytes = {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines)}
    return {"pss": 1024 * kilobytes["Pss"], "own": 1024 * (kilobytes["Private_Clean"] + kilobytes["Private_Dirty"])}


def workers() -> list[int]:
    """Ids of this process's child processes."""
    return [int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]


class FirstStepReached(BaseException):
    """Ends a training at its first step."""


def start(root: Path, labels: str, images: int, classes: int = 20) -> dict[str, Any]:
    """CPU seconds and memory from the start of the process to the first training step."""
    import train_trm
    from utils.training.engine import Training

    found: dict[str, Any] = {}

    def stop(self: Training, *batch: object) -> None:
        found.update(cpu=time.process_time(), parent=memory_of()["pss"])
        found["worker"] = max(memory_of(pid)["own"] for pid in workers())
        raise FirstStepReached

    Training.update = stop  # type: ignore[assignment,method-assign]
    lists = "--train_list all --val_list few --num_workers 2 --epochs 1 --overwrite"
    flags = f"--name run --experiments {root / 'experiments'} --data-path {root / 'data'} {NANO} {lists}"
    with contextlib.suppress(FirstStepReached):
        train_trm.main(flags.split())
    return found


def train(root: Path, labels: str, images: int, epochs: int = 1, classes: int = 20) -> dict[str, Any]:
    """CPU seconds and memory of a training on eight images for all `epochs`."""
    import train_trm

    flags = training_flags(root, epochs)
    before = time.process_time()
    train_trm.main(flags)
    return {"cpu": time.process_time() - before, "parent": peak()}


def training_flags(root: Path, epochs: int) -> list[str]:
    """Flags of a training on eight images, as the run `run`."""
    lists = f"--train_list few --val_list few --num_workers 0 --epochs {epochs} --overwrite"
    return f"--name run --experiments {root / 'experiments'} --data-path {root / 'data'} {NANO} {lists}".split()


def infer(root: Path, labels: str, images: int, classes: int = 20) -> dict[str, Any]:
    """CPU seconds and memory of inference of eight images that have one label each, after an epoch of training."""
    import infer_trm

    train_line = [sys.executable, str(Path(infer_trm.__file__).with_name("train_trm.py")), *training_flags(root, 1)]
    subprocess.run(train_line, check=True, stdout=sys.stderr)  # a process of its own, because its peak would hide this one's
    flags = f"--name run --experiments {root / 'experiments'} --dict --overwrite --device cpu --num_workers 0"
    before = time.process_time()
    infer_trm.main(flags.split())
    return {"cpu": time.process_time() - before, "parent": peak()}


def missing(root: Path, labels: str, images: int, classes: int = 20) -> dict[str, Any]:
    """Finding the missing results in a folder that has all files but one, as infer_trm.py does."""
    import numpy as np

    from datasets.layouts.base import open_layout
    from infer_trm import unwritten
    from utils.options.inference import InferOptions

    ids = [f"{i:07d}" for i in range(images)]
    scaling_data.results(root / "results", ids, "dict", classes)
    (root / "results" / "dict" / f"{ids[-1]}.npy").unlink(missing_ok=True)
    options = InferOptions(name="results", experiments=str(root), dict=True)
    table = np.zeros((images, classes), bool)
    layout = open_layout(root / "data")
    before = time.process_time()
    left = unwritten(options, layout, ids, table)
    if len(left) != 1:
        raise ValueError(f"{len(left)} images are told to be missing")
    return {"cpu": time.process_time() - before, "parent": peak()}


def evaluate(root: Path, labels: str, images: int, classes: int = 20, side: int = 64, processes: int = 1) -> dict[str, Any]:
    """Scoring of CAMs at 99 thresholds."""
    import evaluation

    ids = [f"{i:07d}" for i in range(images)]
    scaling_data.results(root / "results", ids, "dict", classes, side, side)
    (root / "results" / "masks" / "classes.txt").write_text("".join(f"{n}\n" for n in scaling_data.class_names(classes)))
    (root / "all.txt").write_text("".join(f"{i}\n" for i in ids))
    results = root / "results"
    flags = f"--dict_dir {results / 'dict'} --gt_dir {results / 'masks'} --list {root / 'all.txt'}"
    before = cpu()
    evaluation.main([*flags.split(), "--num_workers", str(processes)])
    return {"cpu": cpu() - before, "parent": peak(), "worker": peak(resource.RUSAGE_CHILDREN)}


def load(root: Path, labels: str, images: int, side: int = 64) -> dict[str, Any]:
    """Loading a photograph of a size for training `images` times: decoding and a crop."""
    import numpy as np
    from PIL import Image

    from datasets.images import TrainingImages, Visit

    path = root / "photograph.jpg"
    Image.fromarray(scaling_data.photograph(0, side, side)).save(path, quality=90)
    data = TrainingImages([path], np.ones((1, 20), bool), 224, (0.08, 1.0), (0.75, 1.33), 0)
    _ = data[Visit(0, 0)]
    before = time.process_time()
    for epoch in range(images):
        _ = data[Visit(epoch, 0)]
    return {"cpu": time.process_time() - before, "parent": peak()}


def cpu() -> float:
    """CPU seconds of this process and its finished children."""
    return sum(
        used.ru_utime + used.ru_stime for used in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


def peak(whose: int = resource.RUSAGE_SELF) -> int:
    """Peak memory in bytes, of this process or of its largest finished child."""
    return 1024 * resource.getrusage(whose).ru_maxrss


WORK: dict[str, Callable[..., dict[str, Any]]] = {
    function.__name__: function for function in (start, train, infer, missing, evaluate, load)
}


def main(args: list[str]) -> None:
    name, folder, settings = args[0], Path(args[1]), json.loads(args[2])
    labels = settings.get("labels", "xml")
    if name in ("start", "train", "infer", "missing") and not (folder / "data").exists():
        scaling_data.LAYOUTS[labels](folder / "data", settings["images"], settings.get("classes", 20))
    started = time.perf_counter()
    with contextlib.redirect_stdout(sys.stderr):
        found = WORK[name](folder, **{"labels": labels, **settings})
    print(json.dumps(found | {"wall": time.perf_counter() - started}))


if __name__ == "__main__":
    main(sys.argv[1:])
