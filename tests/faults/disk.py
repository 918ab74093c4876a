"""A full disk at each place where the scripts write: one line, and nothing lost that was there before."""

import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.helpers.toy_data import make_toy_coco, make_toy_voc

from . import Tally
from .commands import DENOISER, EVALUATE, INFER, TRAIN, finish, succeed

DISK_BYTES = 192 << 20
PREPARE = "-m datasets.prepare coco --data-path COCO2014 --num_workers 1"


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A file system of a few megabytes in memory.

    Raises:
        PermissionError: this process may not mount one.
    """
    folder.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        raise PermissionError("a small file system cannot be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def try_full_disk(folder: Path, places: tuple[str, ...] = ()) -> Tally:
    """Fills the disk before each kind of writing, then makes room again.

    Args:
        folder: empty; a small disk is mounted in it.
        places: names of the kinds to try; empty tries all.

    Returns:
        Survived: the command failed with one clear line and code 2, all earlier files were as before, and with room it ended
        well.
    """
    longer = TRAIN.replace("--epochs 3", "--epochs 2")
    jobs = {
        "checkpoints": (longer, ()),
        "denoiser": (DENOISER, ()),
        "CAM dicts and pictures": (INFER, (longer,)),
        "score file": (EVALUATE, (longer, INFER)),
        "prepared masks": (PREPARE, ()),
    }
    tried = survived = 0
    failures = []
    for name, (line, before) in jobs.items():
        if places and name not in places:
            continue
        with small_disk(folder / name.replace(" ", "_")) as disk:
            make_toy_voc(disk / "VOC2012", 6)
            make_toy_coco(disk / "COCO2014")
            for earlier in before:
                succeed(earlier, disk)
            for kilobytes in (0, 8, 64, 400):
                tried += 1
                problem = problem_when_full(line, disk, kilobytes)
                if problem:
                    failures.append(f"{name} with {kilobytes} kB left: {problem}")
                else:
                    survived += 1
            code, output = finish(line, disk)
            if code:
                failures.append(f"{name} with room again: {output[-300:]}")
                survived -= 1
    return Tally(tried, survived, failures)


def problem_when_full(line: str, disk: Path, kilobytes: int) -> str:
    """Runs a command with little room; empty where it behaved."""
    known = digests(disk)
    filler = disk / "filler"
    fill(filler, kilobytes)
    code, output = finish(line, disk, TMPDIR="/tmp")
    filler.unlink()
    if code == 0:
        return ""
    last = output.rstrip().splitlines()[-1] if output.strip() else ""
    if code != 2 or not last.startswith("error: ") or "No space left" not in last:
        return f"code {code}: {output[-600:]}"
    if "Traceback" in output:
        return f"a traceback: {output[-900:]}"
    now = digests(disk)
    lost = [name for name, digest in known.items() if now.get(name) != digest and not replaceable(name)]
    gone = [name for name in known if name not in now and not name.endswith("last.pth")]
    return f"lost {lost or gone}" if lost or gone else ""


def replaceable(name: str) -> bool:
    """Files that a run replaces as it goes, each as a whole."""
    replaced = (".pth", "options.json", "scores.json", "log.txt", ".pt", ".lock")
    return name.endswith(replaced) or "/samples/" in name or "events." in name


def fill(path: Path, kilobytes: int) -> None:
    """Writes a file that leaves no more than some room on its disk."""
    stat = os.statvfs(path.parent)
    size = stat.f_bavail * stat.f_frsize - 1024 * kilobytes
    with path.open("wb") as file:
        file.write(b"\0" * max(0, size))


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".tmp"]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
