"""Data sets: layout, lists, labels, images. Nothing is imported here, so that scoring starts without PyTorch."""
