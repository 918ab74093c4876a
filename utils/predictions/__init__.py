"""Results for images outside a data set: overlays, polygons for annotators, predictions.json."""
