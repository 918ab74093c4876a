"""Time of scoring CAMs at 99 thresholds, from full-size and from patch-size files: python -m benchmarks.evaluation

Writes smooth random CAMs and masks of VOC's usual size and number of classes, and runs evaluation.py on them as a user
would: the time includes the start of the interpreter.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from utils.cams.files import write_cam_dict
from utils.cams.masks import write_mask
from utils.cams.patch_size import full_size_cams

from .measure import Measurement, report, timed

HEIGHT, WIDTH, PATCH = 375, 500, 16
CLASSES_OF_AN_IMAGE = (1, 2, 1, 2)  # VOC's mean is 1.5


def main(args: list[str]) -> None:
    print(report(*measure(args)))


def measure(args: Sequence[str]) -> list[Measurement]:
    """Runs the benchmark with the flags of a command line."""
    # Options
    parser = argparse.ArgumentParser(prog="benchmarks.evaluation", description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=242)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args(args)

    with tempfile.TemporaryDirectory() as name:
        # Data
        root = Path(name)
        write_images(root, options.images)

        # Measure
        times, mious = {}, []
        for kind in ("full", "patch"):
            scores = root / f"{kind}.json"
            flags = f"--dict_dir {root / kind} --gt_dir {root / 'masks'} --list {root / 'list.txt'} --json {scores}"
            command = [sys.executable, "evaluation.py", *flags.split()]
            score = partial(subprocess.run, command, check=True, stdout=subprocess.DEVNULL)
            times[kind] = timed(score, partial(read_all, root, kind), options.repeats)
            mious.append(json.loads(scores.read_text())["miou"])
    apart = np.abs(np.subtract(*mious)).max()
    work = f"99 thresholds, {options.images} images of {WIDTH} x {HEIGHT}"
    notes = {"patch": f"mIoU at most {apart:.6f} points from full-size CAMs'"}
    return [
        Measurement(f"{work}, {kind}-size CAMs", timing.seconds, ratios=timing.ratios, note=notes.get(kind, ""))
        for kind, timing in times.items()
    ]


def read_all(root: Path, kind: str) -> None:
    """The yardstick of scoring: reads the bytes of its files, in one process."""
    for folder in ("masks", kind):
        for path in (root / folder).iterdir():
            path.read_bytes()


def write_images(root: Path, count: int) -> None:
    """Writes masks, their list, and CAMs of both sizes."""
    rng = np.random.default_rng(0)
    (root / "masks").mkdir()
    (root / "masks" / "classes.txt").write_text("".join(f"class {c}\n" for c in range(20)))
    (root / "list.txt").write_text("".join(f"{i:04d}\n" for i in range(count)))
    for i in range(count):
        classes = sorted(rng.choice(20, CLASSES_OF_AN_IMAGE[i % 4], replace=False).tolist())
        maps = {c: cv2.GaussianBlur(rng.normal(size=(HEIGHT // PATCH, WIDTH // PATCH)), (5, 5), 2) for c in classes}
        maps = {c: cam.astype(np.float32) for c, cam in maps.items()}
        full = full_size_cams(maps, (HEIGHT, WIDTH))
        write_cam_dict(root / "patch" / f"{i:04d}.npy", maps, (HEIGHT, WIDTH))
        write_cam_dict(root / "full" / f"{i:04d}.npy", full)
        noisy = {c: cam + cv2.resize(rng.normal(0, 0.3, (24, 32)), (WIDTH, HEIGHT)) for c, cam in full.items()}
        mask = np.array([0, *(c + 1 for c in classes)], np.uint8)[
            np.stack([np.full((HEIGHT, WIDTH), 0.5), *noisy.values()]).argmax(0)
        ]
        write_mask(root / "masks" / f"{i:04d}.png", mask)


if __name__ == "__main__":
    main(sys.argv[1:])
