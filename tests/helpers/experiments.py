"""Experiments for tests."""

from pathlib import Path

import numpy as np
from PIL import Image

from datasets.layouts.voc import VocLayout
from utils.cams.files import write_cam_dict


def make_experiment(folder: Path, voc: Path, name: str = "run") -> Path:
    """Writes an experiment without a run: CAM dicts of the list `train`; the first image has no classes."""
    layout, rng = VocLayout(voc), np.random.default_rng(0)
    ids = layout.read_list("train")
    for image_id, row in zip(ids, layout.labels(ids), strict=True):
        width, height = Image.open(layout.image_path(image_id)).size
        classes = row.nonzero()[0] if image_id != ids[0] else ()
        cams = {int(c): rng.random((height, width), np.float32) for c in classes}
        write_cam_dict(folder / name / "dict" / f"{image_id}.npy", cams)
    return folder / name
