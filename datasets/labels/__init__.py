"""Which classes an image shows: names of classes, and labels from annotations and tables."""
