"""Makes pseudo-masks of the CAMs or CRF scores of a run: python -m tools.masks --name NAME --source dict"""

from utils.command_line import check_flags
from utils.options.results import PseudoMaskOptions

if __name__ == "__main__":  # before the imports that take seconds
    check_flags(PseudoMaskOptions)

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from datasets.runs import open_run
from utils.cams.artefacts import MaskFiles, thresholds_of
from utils.cams.files import read_cam_dict, read_score_dict
from utils.cams.folders import crf_folder, crf_folders, inside_or_path, note_of_other_weights, require_files, unfinished
from utils.errors import InputError, run_script
from utils.experiment.folder import require_experiment
from utils.images import open_rgb
from utils.machine.locks import reading, writing
from utils.machine.parallel import in_parallel
from utils.options.flags import parse_options, show
from utils.records import made_with


def main(args: list[str]) -> None:
    # Options: data set and classes are the run's
    options = parse_options(PseudoMaskOptions, args, "python -m tools.masks", __doc__)
    require_experiment(options.folder)
    run, layout = open_run(options.folder, options.exp, options.data_path, options.val_list)

    ids = layout.read_list(run.val_list)
    job = plan(options, len(layout.classes), run.white_level)
    if options.source == "crf" and (note := note_of_other_weights(job.sources[0], options.folder)):
        print(note)

    with reading(*job.sources), writing(job.masks.target):
        # Files: those that are missing or out of date
        for source in job.sources:
            require_files(source, ids)
        job.start(options.overwrite)
        left = unfinished(ids, job.masks.target, ".png", job.sources)
        by = f"at threshold {show(job.masks.thresholds)}" if job.masks.thresholds else "of scores"
        print(
            f"{', '.join(map(str, job.sources))}: masks {by} of {len(ids)} images of {run.val_list}, "
            f"{len(ids) - len(left)} of them there already"
        )

        # Loop
        for _ in in_parallel(job.write, [(i, layout.image_path(i)) for i in left], options.num_workers, "masks"):
            pass
        print(f"done: {job.masks.target}")


@dataclass(frozen=True)
class Job:
    """Everything that a worker process needs to make masks."""

    sources: Sequence[Path]  # one folder of CAM dicts, or one or two of score dicts
    masks: MaskFiles
    num_classes: int
    white: float  # see `utils.images.to_rgb`

    def start(self, overwrite: bool) -> None:
        """Prepares the folder of the masks.

        Raises:
            InputError: it holds masks of other settings, or the scores were made with different settings.
        """
        if self.masks.thresholds:
            self.masks.start_of_cams(made_with(self.sources[0], self.masks.folder), overwrite)
        else:
            records = {str(path): made_with(path, self.masks.folder) for path in self.sources}
            self.masks.start_of_scores(records, overwrite)

    def write(self, task: tuple[str, Path]) -> None:
        """Writes the mask of one image.

        Raises:
            InputError: a file is damaged, or does not fit its image.
        """
        image_id, image_path = task
        image = open_rgb(image_path, self.white)
        shape = (image.height, image.width)
        files = [source / f"{image_id}.npy" for source in self.sources]
        if self.masks.thresholds:
            self.masks.write_of_cams(image_id, read_cam_dict(files[0], shape, self.num_classes), shape)
        else:
            self.masks.write_of_scores(image_id, [read_score_dict(file, shape, self.num_classes) for file in files])


def plan(options: PseudoMaskOptions, num_classes: int, white: float) -> Job:
    """The job that the flags ask for.

    Raises:
        InputError: there is no best threshold, or it is not clear which scores are meant.
    """
    if options.source == "dict":
        cams = inside_or_path(options.folder, options.dict_dir)
        thresholds = thresholds_of(options, cams, made_with(cams, options.folder))
        return Job([cams], MaskFiles(options.folder, thresholds, options.png_dir, num_classes), num_classes, white)
    folders = [crf_folder(options.folder, alpha) for alpha in options.alphas] or crf_folders(options.folder)
    if not folders:
        raise InputError(f"{options.folder / 'crf'} is missing: run infer_trm.py --crf or python -m tools.crf first")
    if len(folders) > 2:
        raise InputError(
            f"{options.folder / 'crf'} holds {', '.join(path.name for path in folders)}: name one or two with --alphas"
        )
    return Job(folders, MaskFiles(options.folder, name=options.png_dir, num_classes=num_classes), num_classes, white)


if __name__ == "__main__":
    run_script(main)
