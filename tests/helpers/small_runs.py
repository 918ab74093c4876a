"""Flags of short runs."""

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
