"""Shared by the scripts: options, training engine, checkpoints, CAM files, scores, pictures."""
