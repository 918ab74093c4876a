"""Segmentation networks: a training step, whole images, scores."""
