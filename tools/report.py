"""Writes report.html, one file that shows an experiment to anyone: python -m tools.report --name NAME"""

import dataclasses
from functools import partial
from pathlib import Path

import numpy as np

from datasets.layouts.base import Layout, is_data_set, open_layout, read_truth
from utils.cams.files import read_cam_dict
from utils.cams.folders import inside_or_path
from utils.errors import InputError, run_script
from utils.experiment import run_of
from utils.files import whole_file
from utils.images import open_rgb
from utils.machine.locks import reading
from utils.options.flags import parse_options
from utils.options.results import ReportOptions
from utils.options.training import TrainOptions
from utils.report.gallery import build_gallery
from utils.report.history import read_losses, read_progress
from utils.report.page import CamFindings, Findings, build_page, name_flags
from utils.report.scoring import score_images
from utils.report.sheet import write_sheet


def main(args: list[str]) -> None:
    # Options: data set and classes are the run's
    options = parse_options(ReportOptions, args, "python -m tools.report", __doc__)
    if not options.folder.is_dir():
        raise InputError(f"{options.folder} is missing: give the --name of an experiment, or its folder with --experiments")
    run, classes = run_of(options.folder, "", "")
    run = dataclasses.replace(run, name=options.name, experiments=options.experiments)

    # What training left
    losses, progress = read_losses(options.folder / "log.txt"), read_progress(options.folder)

    # What the CAM files say
    root, dicts = Path(options.data_path or run.data_path), inside_or_path(options.folder, options.dict_dir)
    reason = why_no_cams(run, root, dicts)
    with reading(dicts):
        cams = reason or score_cams(options, root, options.list or run.val_list, dicts, classes)
    if reason and classes is None and not (losses or progress):
        raise InputError(f"{options.folder} holds no experiment: no options.json, losses, scores or CAMs are there")

    # Page
    out = report_file(options)
    page = build_page(Findings(run, classes is not None, classes or (), losses, progress, cams))
    with whole_file(out) as file:
        file.write(page)
    pictures = f"; left out: {reason}" if reason else f", and its pictures alone: {sheet_file(options)}"
    print(f"done: {out}, {len(page) / 1e6:.1f} MB{pictures}")


def report_file(options: ReportOptions) -> Path:
    """Where the page goes."""
    return Path(options.out) if options.out else options.folder / "report.html"


def sheet_file(options: ReportOptions) -> Path:
    """Where its pictures go as one PNG: beside it."""
    return report_file(options).with_suffix(".png")


def why_no_cams(run: TrainOptions, root: Path, dicts: Path) -> str:
    """A sentence on what is missing to score CAM files, and what makes it; empty where all is there."""
    if next(dicts.glob("*.npy"), None) is None:
        return f"There are no CAMs in {dicts}: python infer_trm.py {name_flags(run)} --dict writes them."
    if not is_data_set(root):
        return f"The data set {root} is not here: --data-path names another place of it."
    masks = open_layout(root).mask_folder
    if not masks.is_dir():
        return f"There are no true masks to score with: they belong into {masks}."
    return ""


def score_cams(options: ReportOptions, root: Path, images: str, dicts: Path, classes: tuple[str, ...] | None) -> CamFindings:
    """Scores the CAM files, and draws some of the images.

    Args:
        options: of the command.
        root: the data set.
        images: their list.
        dicts: the folder of the files.
        classes: the run's; None admits any.

    Raises:
        InputError: a file is missing, damaged or misshapen, or the data set is another than the run's.
    """
    layout = open_layout(root)
    if classes is not None and classes != layout.classes:
        raise InputError(f"{layout.root} has other classes than the run {options.folder} was trained on")
    ids = layout.read_list(images)
    read = partial(read_sample, layout, dicts)
    scores = score_images(read, ids, len(layout.classes), options.num_workers)
    shown = (ids, scores, read, partial(read_image, layout), layout.classes, options.images)
    write_sheet(sheet_file(options), *shown)
    gallery = build_gallery(*shown)
    return CamFindings(options.dict_dir, images, layout.classes, scores, gallery)


def read_sample(layout: Layout, dicts: Path, image_id: str) -> tuple[dict[int, np.ndarray], np.ndarray]:
    """CAMs and true mask of an image."""
    mask = read_truth(layout, image_id)
    return read_cam_dict(dicts / f"{image_id}.npy", mask.shape, len(layout.classes)), mask


def read_image(layout: Layout, image_id: str) -> np.ndarray:
    """An image as (H, W, 3) uint8."""
    return np.asarray(open_rgb(layout.image_path(image_id)))


if __name__ == "__main__":
    run_script(main)
