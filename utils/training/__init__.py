"""Training loop, checkpoints, seeds."""
