"""Scores CAMs and masks against ground truth: python evaluation.py --name NAME --task cam --dict_dir dict"""

from utils.command_line import check_flags
from utils.options.results import EvaluationOptions

if __name__ == "__main__":  # before the imports that take seconds
    check_flags(EvaluationOptions)

import contextlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from datasets.layouts.base import Layout, find_mask, is_data_set, open_layout
from datasets.layouts.masks import MaskLayout
from datasets.pixels import turned_like
from datasets.runs import require_classes
from utils.cams.files import read_cam_dict, read_score_dict
from utils.cams.folders import crf_folders, inside_or_path
from utils.cams.masks import read_mask
from utils.errors import InputError, run_script
from utils.experiment.folder import require_experiment
from utils.experiment.saved import SEG, kind_of, scored_run_of
from utils.files import whole_file
from utils.machine.locks import reading
from utils.machine.parallel import in_parallel
from utils.options.flags import parse_options
from utils.records import made_with
from utils.scoring.best_threshold import write_best
from utils.scoring.metrics import Confusion, Scores, ThresholdSweep, label_map

IMAGES_PER_TASK = 8


def main(args: list[str]) -> None:
    # Options: data set and classes come from the run
    options = parse_options(EvaluationOptions, args, "evaluation.py", __doc__)
    job, images, ids, classes = locate(options)
    print(f"{options.task}: {len(ids)} images, {job.predictions} against {job.truth}")

    # Loop: every file is read once, by one process per core
    tally = job.new_tally()
    chunks = [ids[i : i + IMAGES_PER_TASK] for i in range(0, len(ids), IMAGES_PER_TASK)]
    with reading(job.predictions):
        for counts in in_parallel(job.count, chunks, options.num_workers, "scoring"):
            tally.counts += counts
    scores = tally.scores()
    if not np.sum(scores.pixels[1:]):
        raise InputError(
            f"no mask of these {len(ids)} images in {job.truth} holds a class: 0 is the background, 255 is not scored, the "
            f"classes are 1 to {job.num_classes}"
        )

    # Results
    print_scores(scores, classes)
    if options.json:
        write_json(scores, Path(options.json))
    if options.task == "cam" and options.name and job.predictions.parent == options.folder:
        keep_best(options.folder, scores, job, images)


@dataclass(frozen=True)
class Job:
    """Everything that a worker process needs to score images."""

    task: str
    predictions: Path
    truth: Path
    num_classes: int
    layout: Layout  # the data set, or only its masks

    def new_tally(self) -> ThresholdSweep | Confusion:
        """An empty count for this task."""
        return ThresholdSweep(self.num_classes) if self.task == "cam" else Confusion(self.num_classes)

    def count(self, ids: Sequence[str]) -> np.ndarray:
        """Counts pixels of the images.

        Raises:
            InputError: a file is missing, damaged or of another size.
        """
        tally = self.new_tally()
        for image_id in ids:
            mask = read_mask(find_mask(self.truth, image_id), None, self.num_classes)
            with contextlib.suppress(InputError):  # without its image, a mask is not turned
                mask = turned_like(mask, self.layout.image_path(image_id))
            if isinstance(tally, ThresholdSweep):
                tally.add(read_cam_dict(self.predictions / f"{image_id}.npy", mask.shape, self.num_classes), mask)
            else:
                tally.add(self.read_labels(image_id, mask.shape), mask)
        return tally.counts

    def read_labels(self, image_id: str, shape: tuple[int, int]) -> np.ndarray:
        """The predicted label image of an image."""
        if self.task == "png":
            return read_mask(self.predictions / f"{image_id}.png", shape, self.num_classes)
        scores = read_score_dict(self.predictions / f"{image_id}.npy", shape, self.num_classes)
        return label_map(scores, self.num_classes)


def locate(options: EvaluationOptions) -> tuple[Job, str, list[str], tuple[str, ...]]:
    """Finds predictions, masks and images; flags may be names inside the experiment or data set, or paths.

    Returns:
        The job, the name of the list, its image ids, and the class names without background.

    Raises:
        InputError: one of them is missing.
    """
    run, classes = scored_run_of(options.folder, options.exp, options.data_path)
    root = Path(run.data_path)
    if options.name and not (options.dict_dir and Path(options.dict_dir).is_dir()):
        require_experiment(options.folder)
    predictions = inside_or_path(options.folder, options.dict_dir) if options.dict_dir else usual_predictions(options)
    truth = truth_folder(root, options.gt_dir)
    if not truth.is_dir():
        raise InputError(f"{truth} is missing: name the masks' folder with --gt-dir, or the data set with --data-path")
    if not predictions.is_dir():
        script = "infer_seg.py" if kind_of(options.folder) == SEG else "infer_trm.py"
        raise InputError(f"{predictions} is missing: run {script} first, or name another folder with --dict-dir")
    # Masks given by a path may belong to another data set than the run's.
    root = next((folder for folder in truth.parents[:2] if is_data_set(folder, guess=True)), root)
    layout = open_layout(root) if is_data_set(root) else MaskLayout(truth, root)
    if not isinstance(layout, MaskLayout) or layout.place_of_classes:
        require_classes(layout, classes, options.folder)
    classes, images = classes or layout.classes, options.list or run.val_list
    return Job(options.task, predictions, truth, len(classes), layout), images, layout.read_list(images), classes


def usual_predictions(options: EvaluationOptions) -> Path:
    """The folder in which the other scripts write a task's predictions.

    Raises:
        InputError: there are several such folders, or no script writes them.
    """
    if options.task == "dl" and kind_of(options.folder) != SEG:
        raise InputError("--task dl needs the folder of a network's score dicts: name it with --dict-dir")
    if options.task != "crf":
        return options.folder / {"cam": "dict", "dl": "dl", "png": "png"}[options.task]
    folders = crf_folders(options.folder)
    if len(folders) > 1:
        names = ", ".join(f"crf/{folder.name}" for folder in folders)
        raise InputError(f"{options.folder} holds {names}: name one of them with --dict-dir")
    return folders[0] if folders else options.folder / "crf"


def truth_folder(root: Path, name: str) -> Path:
    """The folder of masks: `name` inside the data set or as a path; for the default, the data set's own folder of masks."""
    truth = inside_or_path(root, name)
    if not truth.is_dir() and name == EvaluationOptions.gt_dir and is_data_set(root):
        return open_layout(root).mask_folder
    return truth


def print_scores(scores: Scores, classes: Sequence[str]) -> None:
    """Prints the sweep, the per-class table at the best threshold, and the means."""
    if len(scores.thresholds):
        print("\nmIoU by threshold   " + "".join(f"    +.0{i}" for i in range(10)))
        by_hundredth = {round(100 * t): value for t, value in zip(scores.thresholds, scores.miou, strict=True)}
        for tens in range(0, 100, 10):
            row = (f"{by_hundredth[tens + i]:8.2f}" if tens + i in by_hundredth else " " * 8 for i in range(10))
            print(f"               {tens / 100:.2f}  " + "".join(row))

    best = scores.best
    print(f"\n{'class':<20}{'IoU':>8}{'precision':>11}{'recall':>8}")
    rows = zip(
        ("background", *classes), scores.iou[best], scores.precision[best], scores.recall[best], scores.pixels, strict=True
    )
    for name, iou, precision, recall, pixels in rows:
        note = "" if pixels else "   not in the ground truth"
        print(f"{name:<20}{iou:8.2f}{precision:11.2f}{recall:8.2f}{note}")
    print(f"{'mean':<20}{scores.miou[best]:8.2f}{scores.precision[best].mean():11.2f}{scores.recall[best].mean():8.2f}")
    at = f" at threshold {scores.thresholds[best]:.2f}" if len(scores.thresholds) else ""
    print(f"\nmIoU {scores.miou[best]:.3f}{at}")


def write_json(scores: Scores, path: Path) -> None:
    """Writes all scores in percent; without thresholds, `thresholds` is empty and the other lists have one element."""
    thresholds = scores.thresholds.tolist()
    content = {
        "thresholds": thresholds,
        "miou": scores.miou.tolist(),
        "precision": scores.precision.mean(1).tolist(),
        "recall": scores.recall.mean(1).tolist(),
        "iou": scores.iou.tolist(),
        "best": {"threshold": thresholds[scores.best] if thresholds else None, "miou": float(scores.miou[scores.best])},
    }
    with whole_file(path) as file:
        file.write((json.dumps(content, indent=1) + "\n").encode())


def keep_best(folder: Path, scores: Scores, job: Job, images: str) -> None:
    """Writes the best threshold into the experiment for `--threshold best`; prints a note if it cannot be written."""
    threshold, miou = float(scores.thresholds[scores.best]), float(scores.miou[scores.best])
    try:
        write_best(job.predictions, threshold, miou, images, job.layout.root, made_with(job.predictions, folder))
    except InputError as error:  # no failure: the scores are printed, and another user's experiment may be read-only
        print(f"the best threshold is not kept: {error}")


if __name__ == "__main__":
    run_script(main)
