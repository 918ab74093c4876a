"""What bounds the mIoU of a run's CAMs: python -m tools.bounds --name NAME

Scores the CAMs four times: as they are, at one threshold for all images; with the true class of what is foreground; with
the best threshold of each image; with the true background. What gains most is what the CAMs lack most.
"""

from utils.command_line import check_flags
from utils.options.results import BoundsOptions

if __name__ == "__main__":  # before the imports that take seconds
    check_flags(BoundsOptions)

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from datasets.layouts.base import Layout, read_truth
from datasets.runs import open_run
from utils.cams.files import read_cam_dict
from utils.cams.folders import inside_or_path, require_files
from utils.errors import InputError, run_script
from utils.machine.locks import reading
from utils.machine.parallel import in_parallel
from utils.options.flags import parse_options, show
from utils.scoring.bounds import Bounds, best_threshold, miou, miou_of_present
from utils.scoring.metrics import ThresholdSweep

IMAGES_PER_TASK = 8
ROWS = {
    "nothing": "nothing: one threshold for all images",
    "class": "the class of what is foreground",
    "threshold": "an image's threshold of most right pixels",
    "background": "what is background",
}
QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)


def main(args: list[str]) -> None:
    # Options: data set and classes are the run's
    options = parse_options(BoundsOptions, args, "python -m tools.bounds", __doc__)
    run, layout = open_run(options.folder, options.exp, options.data_path, options.val_list)
    ids = layout.read_list(run.val_list)
    cams = inside_or_path(options.folder, options.dict_dir)
    require_files(cams, ids)
    if unmasked := [image_id for image_id in ids if not layout.mask_path(image_id).exists()]:
        raise InputError(f"{layout.mask_path(unmasked[0])} is missing: bounds are found with the true masks of all images")
    job = Job(cams, layout)
    chunks = [ids[start : start + IMAGES_PER_TASK] for start in range(0, len(ids), IMAGES_PER_TASK)]

    with reading(cams):
        # The best threshold, of all images and of each
        sweep, own = ThresholdSweep(len(layout.classes)), []
        for counts, thresholds in in_parallel(job.sweep, chunks, options.num_workers, "thresholds"):
            sweep.counts += counts
            own += thresholds
        scores = sweep.scores()
        threshold = float(scores.thresholds[scores.best])

        # Masks with a part of the truth
        bounds = Bounds(len(layout.classes), threshold)
        starts = range(0, len(ids), IMAGES_PER_TASK)
        tasks = [
            (threshold, chunk, own[start : start + IMAGES_PER_TASK]) for start, chunk in zip(starts, chunks, strict=True)
        ]
        for part in in_parallel(job.bounds, tasks, options.num_workers, "bounds"):
            bounds.merge(part)

    # Results
    print(f"{cams}: {len(ids)} images of {run.val_list}\n\n{'taken from the true masks':<42}{'mIoU':>8}")
    for case, words in ROWS.items():
        print(f"{words:<42}{miou(bounds.cases[case]):8.2f}")
    print("\nof the classes that occur:")
    for words, tally in (("images of one class", bounds.one), ("images of several classes", bounds.several)):
        print(f"{words:<42}{miou_of_present(tally):8.2f}")
    found = ", ".join(f"{value:.2f}" for value in np.quantile(own, QUANTILES))
    print(f"\nthreshold of all images: {threshold:.2f}; of most right pixels in each, quantiles {show(QUANTILES)}: {found}")


@dataclass(frozen=True)
class Job:
    """Everything that a worker process needs to score images."""

    cams: Path
    layout: Layout

    def read(self, image_id: str) -> tuple[dict[int, np.ndarray], np.ndarray]:
        """CAMs and true mask of an image; an image without a CAM has one of zeros."""
        mask = read_truth(self.layout, image_id)
        maps = read_cam_dict(self.cams / f"{image_id}.npy", mask.shape, len(self.layout.classes))
        return maps or {0: np.zeros(mask.shape, np.float32)}, mask

    def sweep(self, ids: Sequence[str]) -> tuple[np.ndarray, list[float]]:
        """Counts of a threshold sweep over images, and the best threshold of each."""
        sweep, own = ThresholdSweep(len(self.layout.classes)), []
        for image_id in ids:
            maps, mask = self.read(image_id)
            sweep.add(maps, mask)
            own.append(best_threshold(maps, mask, sweep.num_classes))
        return sweep.counts, own

    def bounds(self, task: tuple[float, Sequence[str], Sequence[float]]) -> Bounds:
        """Counts of images at a threshold; each has its own best threshold too."""
        threshold, ids, own = task
        bounds = Bounds(len(self.layout.classes), threshold)
        for image_id, of_image in zip(ids, own, strict=True):
            bounds.add(*self.read(image_id), of_image)
        return bounds


if __name__ == "__main__":
    run_script(main)
