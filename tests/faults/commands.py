"""The scripts as a user runs them, at toy scale, in processes that can be killed."""

import os
import subprocess
import sys
from pathlib import Path

from tests.helpers import ROOT

NETWORK = "--input-size 32 --infer-size 0 --embed-dim 16 --depth 2 --num-heads 2 --feature-steps 0 2"
TRAIN = (
    f"train_trm.py --name run --exp dig_nano --data-path VOC2012 {NETWORK} --diffusion_weights random --diffusion-dim 8 "
    "--batch-size 2 --epochs 3 --drop-path 0.2 --warmup_epochs 0 --lr 0.01 --num_workers 1 --ckpt_minutes 0 --print-freq 3"
)
DENOISER = (
    "train_diffusion.py --name denoiser --exp dig_nano --data VOC2012/JPEGImages --dim 8 --image-size 32 --batch-size 2 "
    "--steps 30 --sample-every 10 --num-samples 4 --sample-steps 2 --num_workers 1 --ckpt_minutes 0 --out denoiser.pt"
)
INFER = "infer_trm.py --name run --dict --vis --num_workers 1"
EVALUATE = "evaluation.py --name run --json scores.json --num_workers 1"


def start(line: str, cwd: Path, **environment: str) -> subprocess.Popen:
    """Starts a script on the CPU, with one thread; its session is its own, so that it can be killed alone."""
    script, *args = line.split()
    command = [sys.executable, *([script] if script == "-m" else [str(ROOT / script)]), *args]
    own = {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", "XDG_CACHE_HOME": str(cwd / "cache"), "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        command,
        cwd=cwd,
        env=os.environ | own | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def finish(line: str, cwd: Path, **environment: str) -> tuple[int, str]:
    """Runs a script to its end: exit code and everything that it printed."""
    process = start(line, cwd, **environment)
    output, _ = process.communicate(timeout=600)
    return process.returncode, output


def succeed(line: str, cwd: Path) -> str:
    """Runs a script that must succeed, and returns what it printed."""
    code, output = finish(line, cwd)
    if code != 0:
        raise RuntimeError(f"{line}: {output}")
    return output
