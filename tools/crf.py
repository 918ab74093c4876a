"""Refines the CAMs of a run with a dense CRF: python -m tools.crf --name NAME --alphas 4 8"""

from utils.command_line import check_flags
from utils.options.results import CrfFilesOptions

if __name__ == "__main__":  # before the imports that take seconds
    check_flags(CrfFilesOptions)

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from datasets.runs import open_run
from utils.cams.artefacts import CrfFiles
from utils.cams.crf import require_crf
from utils.cams.files import read_cam_dict
from utils.cams.folders import crf_folder, inside_or_path, require_files, unfinished
from utils.errors import run_script
from utils.experiment.folder import require_experiment
from utils.images import open_rgb
from utils.machine.locks import reading, writing
from utils.machine.parallel import in_parallel
from utils.options.flags import parse_options
from utils.records import made_with, place


def main(args: list[str]) -> None:
    # Options: data set and classes are the run's
    options = parse_options(CrfFilesOptions, args, "python -m tools.crf", __doc__)
    require_crf()
    require_experiment(options.folder)
    run, layout = open_run(options.folder, options.exp, options.data_path, options.val_list)

    ids = layout.read_list(run.val_list)
    cams = inside_or_path(options.folder, options.dict_dir)
    require_files(cams, ids)
    targets = [crf_folder(options.folder, alpha) for alpha in options.alphas]

    with reading(cams), writing(*targets):
        # Files: those that are missing or out of date
        files = CrfFiles(options.folder, options)
        files.start(made_with(cams, options.folder) | {"data": place(layout.root, options.folder)}, options.overwrite)
        tasks = []
        for alpha, target in zip(options.alphas, targets, strict=True):
            tasks += [(i, layout.image_path(i), alpha) for i in unfinished(ids, target, ".npy", (cams,))]
        there = len(targets) * len(ids) - len(tasks)
        print(f"{cams}: {len(ids)} images of {run.val_list}, {len(targets)} alphas; {there} files are there already")

        # Loop
        job = Job(cams, files, len(layout.classes), run.white_level)
        for _ in in_parallel(job.refine, tasks, options.num_workers, "CRF"):
            pass
        print(f"done: {', '.join(map(str, targets))}")


@dataclass(frozen=True)
class Job:
    """Everything that a worker process needs to refine images."""

    cams: Path
    files: CrfFiles
    num_classes: int
    white: float  # see `utils.images.to_rgb`

    def refine(self, task: tuple[str, Path, float]) -> None:
        """Writes the scores of one image with one exponent.

        Raises:
            InputError: the image or its CAMs are damaged, or do not fit each other.
        """
        image_id, image_path, alpha = task
        image = np.asarray(open_rgb(image_path, self.white))
        cams = read_cam_dict(self.cams / f"{image_id}.npy", image.shape[:2], self.num_classes)
        self.files.write(image_id, alpha, self.files.make(image, cams, alpha))


if __name__ == "__main__":
    run_script(main)
