"""Makes pseudo-masks of CAMs or CRF scores that are there: python -m tools.masks --name NAME --source dict"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets.pixels import open_rgb
from datasets.runs import open_run
from utils.cams.files import read_cam_dict, read_score_dict
from utils.cams.folders import (
    crf_folder,
    crf_folders,
    inside_or_path,
    made_with,
    require_files,
    score_record,
    start_folder,
    threshold_record,
    unfinished,
)
from utils.cams.masks import write_mask
from utils.cams.pseudo_masks import score_mask, threshold_mask
from utils.errors import InputError, run_script
from utils.machine.parallel import in_parallel
from utils.options.flags import parse_options, show
from utils.options.results import PseudoMaskOptions
from utils.scoring.best_threshold import read_best


def main(args: list[str]) -> None:
    # Options: data set and classes are the run's
    options = parse_options(PseudoMaskOptions, args, "python -m tools.masks", __doc__)
    run, layout = open_run(options.folder, options.exp, options.data_path, options.val_list)

    # Files: what is not there yet
    ids = layout.read_list(run.val_list)
    job, record = plan(options, len(layout.classes))
    for source in job.sources:
        require_files(source, ids)
    start_folder(job.target, record, "*.png", options.overwrite)
    left = unfinished(ids, job.target, ".png", job.sources)
    by = f"at threshold {show(job.thresholds)}" if job.thresholds else "of scores"
    print(
        f"{', '.join(map(str, job.sources))}: masks {by} of {len(ids)} images of {run.val_list}, "
        f"{len(ids) - len(left)} of them there already"
    )

    # Loop: every image by itself
    for _ in in_parallel(job.write, [(i, layout.image_path(i)) for i in left], options.num_workers, "masks"):
        pass
    print(f"done: {job.target}")


@dataclass(frozen=True)
class Job:
    """What a worker process needs to know."""

    sources: Sequence[Path]  # one folder of CAM dicts, or one or two of score dicts
    thresholds: tuple[float, ...]  # of CAMs; none for scores
    target: Path
    num_classes: int

    def write(self, task: tuple[str, Path]) -> None:
        """Writes the mask of one image.

        Raises:
            InputError: a file is damaged, or does not fit its image.
        """
        image_id, image_path = task
        image = open_rgb(image_path)
        shape = (image.height, image.width)
        files = [source / f"{image_id}.npy" for source in self.sources]
        if self.thresholds:
            mask = threshold_mask(read_cam_dict(files[0], shape, self.num_classes), shape, self.thresholds)
        else:
            mask = score_mask([read_score_dict(file, shape, self.num_classes) for file in files])
        write_mask(self.target / f"{image_id}.png", mask)


def plan(options: PseudoMaskOptions, num_classes: int) -> tuple[Job, dict[str, Any]]:
    """The job that the flags ask for, and what its masks will have been made with.

    Raises:
        InputError: there is no best threshold, or it is not clear which scores are meant.
    """
    target = options.folder / "png"
    if options.source == "dict":
        cams = inside_or_path(options.folder, options.dict_dir)
        record = made_with(cams)
        thresholds = options.thresholds or (read_best(options.folder, str(record.get("weights", ""))),)
        return Job([cams], thresholds, target, num_classes), threshold_record(record, thresholds)
    folders = [crf_folder(options.folder, alpha) for alpha in options.alphas] or crf_folders(options.folder)
    if not folders:
        raise InputError(f"{options.folder / 'crf'} is missing: run infer_trm.py --crf or python -m tools.crf first")
    if len(folders) > 2:
        raise InputError(
            f"{options.folder / 'crf'} holds {', '.join(path.name for path in folders)}: name one or two with --alphas"
        )
    return Job(folders, (), target, num_classes), score_record({str(path): made_with(path) for path in folders})


if __name__ == "__main__":
    run_script(main)
