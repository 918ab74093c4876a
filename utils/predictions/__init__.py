"""What is shown and kept of masks of loose images: overlays, polygons for annotators, predictions.json."""
