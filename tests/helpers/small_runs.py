"""Flags of short runs."""

SMALL = (
    "--exp dig_nano --input-size 32 --infer-size 0 --embed-dim 16 --depth 2 --num-heads 2 --diffusion_weights random "
    "--diffusion-dim 8 --feature-steps 0 2 --batch-size 2 --device cpu --num_workers 0"
)
