"""The scripts as a user runs them, at toy scale, in processes that can be killed."""

from pathlib import Path

from tests.helpers import processes
from tests.helpers.warm import Command

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


def start(line: str, cwd: Path, **environment: str) -> Command:
    """Starts a script on the CPU; errors go to its output."""
    return processes.start(line, cwd, merged=True, **environment)


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
