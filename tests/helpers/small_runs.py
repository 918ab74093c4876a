"""Short runs: their flags, and one of train_trm.py."""

from pathlib import Path

import train_trm

SMALL = (
    "--exp dig_nano --input-size 32 --infer-size 0 --embed-dim 16 --depth 2 --num-heads 2 --diffusion_weights random "
    "--diffusion-dim 8 --feature-steps 0 2 --batch-size 2 --device cpu --num_workers 0"
)

SMALL_SEG = (
    "--exp seg_toy --masks truth --crop-size 32 --batch-size 4 --epochs 2 --print-freq 1 --device cpu --num_workers 0 "
    "--arch-options decoder_channels=(8,8,8,8,8)"
)
"""The same of train_seg.py."""

SMALL_DENOISER = (
    "--dim 8 --image-size 16 --batch-size 4 --num-samples 4 --sample-steps 2 --num_workers 0 --device cpu --print-freq 2"
)
"""The same of train_diffusion.py."""


def train_small(folder: Path, data: Path, name: str, more: str = "--epochs 1") -> Path:
    """Trains in this process; returns the run's folder."""
    train_trm.main(f"--name {name} --experiments {folder} --data-path {data} {SMALL} {more}".split())
    return folder / name
