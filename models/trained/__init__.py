"""Trained networks for use from Python, and for other programs: masks of images, the Hugging Face Hub, graphs."""
