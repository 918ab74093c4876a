"""What the scripts share: options, training engine, checkpoints, CAM files, scores, pictures."""
