"""`--wandb` of the training scripts: with the package itself, offline, through kills; and without it."""

import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.helpers import ROOT, processes
from tests.helpers.small_runs import SMALL, SMALL_SEG
from tests.helpers.toy_data import make_toy_voc
from utils.log import wandb_file

pytestmark = pytest.mark.slow
needs_wandb = pytest.mark.skipif(
    importlib.util.find_spec("wandb") is None, reason="wandb is not installed: pip install -r requirements-wandb.txt"
)

EPOCH = "--epochs 1 --print-freq 1 --wandb project"


@pytest.fixture
def data(tmp_path) -> Path:
    return make_toy_voc(tmp_path / "VOC2012")


def start(line: str, cwd: Path) -> subprocess.Popen:
    script, *args = line.split()
    env = os.environ | {"WANDB_MODE": "offline", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([sys.executable, str(ROOT / script), *args], cwd=cwd, env=env, text=True, **pipes)


def run(line: str, cwd: Path) -> str:
    process = start(line, cwd)
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    return output


def logs(folder: Path) -> list[Path]:
    """What wandb keeps to send later, in the order of the starts."""
    return sorted((folder / "wandb").glob("offline-run-*/run-*.wandb"))


@needs_wandb
@pytest.mark.parametrize(
    ("line", "value"),
    [
        (f"train_trm.py {SMALL} --data-path VOC2012 --W 1 0 0 0 0 --val_list train --val_from 0", b"cams/2007_000000"),
        ("train_diffusion.py --exp dig_nano --data VOC2012/JPEGImages --steps 2 --image-size 32 --dim 8 --batch-size 2"
         " --num_samples 1 --sample_steps 2 --device cpu --num_workers 0", b"loss"),
        (f"train_seg.py {SMALL_SEG} --data-path VOC2012", b"mIoU"),
        ("train_affinity.py --exp aff_toy --masks VOC2012/SegmentationClass --crop-size 32 --batch-size 4 --device cpu"
         " --num_workers 0 --data-path VOC2012", b"loss"),
    ],
    ids=["trm", "diffusion", "seg", "affinity"],
)  # fmt: skip
def test_every_training_writes_its_log(line, value, data, tmp_path):
    length = EPOCH if "diffusion" not in line else EPOCH.replace("--epochs 1", "")
    printed = run(f"{line} {length} --name run", tmp_path)
    (log,) = logs(tmp_path / "experiment" / "run")
    run_id = wandb_file(tmp_path / "experiment" / "run").read_text().strip()
    assert log.stem == f"run-{run_id}"
    assert f"wandb: run {run_id} of project project, " in printed
    assert value in log.read_bytes()


def start_and_save(line: str, cwd: Path, folder: Path) -> subprocess.Popen:
    """A training that has saved its first checkpoint, or ended."""
    process = start(line, cwd)
    deadline = time.monotonic() + 300
    while not (folder / "ckpt" / "last.pth").exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    return process


@needs_wandb
def test_a_killed_run_goes_on_in_the_same_wandb_run_and_a_fresh_one_does_not(data, tmp_path):
    line = f"train_trm.py {SMALL} --data-path VOC2012 --W 1 0 0 0 0 --epochs 40 --print-freq 1 --val_from 40 --name run"
    folder = tmp_path / "experiment" / "run"
    process = start_and_save(f"{line} --wandb project", tmp_path, folder)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    first = wandb_file(folder).read_text()
    printed = run(f"{line} --wandb project", tmp_path)
    assert "resuming after step" in printed
    assert wandb_file(folder).read_text() == first
    assert [log.stem for log in logs(folder)] == [f"run-{first.strip()}"] * 2
    run(f"{line.replace('--epochs 40', '--epochs 1')} --val_from 1 --overwrite --wandb project", tmp_path)
    assert wandb_file(folder).read_text() != first


@needs_wandb
def test_ctrl_c_saves_and_ends_the_log(data, tmp_path):
    line = f"train_trm.py {SMALL} --data-path VOC2012 --W 1 0 0 0 0 --epochs 4000 --print-freq 1 --name run"
    folder = tmp_path / "experiment" / "run"
    process = start_and_save(f"{line} --val_from 4000 --wandb project", tmp_path, folder)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 130, errors
    assert "wandb has failed" not in output
    assert "Traceback" not in errors
    assert b"loss/total" in logs(folder)[0].read_bytes()


@pytest.mark.skipif(importlib.util.find_spec("wandb") is not None, reason="wandb is installed")
@pytest.mark.parametrize(
    "script", ["train_trm.py", "train_diffusion.py --data .", "train_seg.py --masks .", "train_affinity.py --masks ."]
)
def test_a_missing_package_is_one_line_before_anything_is_made(script, tmp_path):
    process = processes.start(f"{script} --name run --wandb project", tmp_path)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 2
    assert errors.strip().splitlines() == ["error: --wandb needs the package wandb: pip install -r requirements-wandb.txt"]
    assert not (tmp_path / "experiment").exists()
