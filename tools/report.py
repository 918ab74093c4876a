"""Writes report.html, one file that shows an experiment to anyone: python -m tools.report --name NAME"""

import dataclasses
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from datasets.layouts.base import Layout, is_data_set, open_layout, read_truth
from datasets.pixels import upright_size
from utils.cams.files import read_cam_dict
from utils.cams.folders import inside_or_path
from utils.errors import InputError, run_script
from utils.experiment import require_experiment, run_of
from utils.files import whole_file
from utils.images import open_rgb
from utils.machine.locks import reading
from utils.options.flags import parse_options
from utils.options.results import ReportOptions
from utils.options.training import TrainOptions
from utils.report.gallery import build_gallery, draw_cams, draw_sample
from utils.report.history import read_losses, read_progress
from utils.report.page import CamFindings, Findings, build_page, name_flags
from utils.report.scoring import examples, score_images
from utils.report.sheet import write_sheet


def main(args: list[str]) -> None:
    # Options: data set and classes are the run's
    options = parse_options(ReportOptions, args, "python -m tools.report", __doc__)
    require_experiment(options.folder)
    run, classes = run_of(options.folder, "", "")
    run = dataclasses.replace(run, name=options.name, experiments=options.experiments)

    # What training left
    losses, progress = read_losses(options.folder / "log.txt"), read_progress(options.folder)

    # What the CAM files say
    root, dicts = Path(options.data_path or run.data_path), inside_or_path(options.folder, options.dict_dir)
    images = options.list or run.val_list
    reason = why_no_cams(run, root, dicts)
    unscored = why_unscored(root, "" if reason else images)
    with reading(dicts):
        cams = reason or find_cams(options, root, images, dicts, classes, unscored, run.white_level)
    if reason and classes is None and not (losses or progress):
        raise InputError(f"{options.folder} holds no experiment: no options.json, losses, scores or CAMs are there")

    # Page
    out = report_file(options)
    page = build_page(Findings(run, classes is not None, classes or (), losses, progress, cams, unscored))
    with whole_file(out) as file:
        file.write(page)
    pictures = f"; left out: {reason}" if reason else f", and its pictures alone: {sheet_file(options)}"
    scores = f"; not scored: {unscored}" if unscored and not reason else ""
    print(f"done: {out}, {len(page) / 1e6:.1f} MB{pictures}{scores}")


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
    return ""


def why_unscored(root: Path, images: str) -> str:
    """A sentence on the true masks that are missing to score CAMs; empty where all are there.

    Args:
        root: the data set; nothing is said of one that is not here.
        images: their list; empty asks no more than whether there are masks at all.
    """
    if not is_data_set(root):
        return ""
    layout = open_layout(root)
    if not layout.mask_folder.is_dir():
        return f"There are no true masks to score with: they belong into {layout.mask_folder}."
    ids = layout.read_list(images) if images else []
    missing = sum(not layout.mask_path(image_id).exists() for image_id in ids)
    if not missing:
        return ""
    return (
        f"{missing} of the {len(ids)} images of {images} have no true mask in {layout.mask_folder}, and all need one to be "
        "scored: --list names others."
    )


def find_cams(
    options: ReportOptions,
    root: Path,
    images: str,
    dicts: Path,
    classes: tuple[str, ...] | None,
    unscored: str,
    white: float,
) -> CamFindings:
    """Scores the CAM files where there are masks, and draws some of the images.

    Args:
        options: of the command.
        root: the data set.
        images: their list.
        dicts: the folder of the files.
        classes: the run's; None admits any.
        unscored: why there are no scores; empty where there are.
        white: see `utils.images.to_rgb`.

    Raises:
        InputError: a file is missing, damaged or misshapen, or the data set is another than the run's.
    """
    layout = open_layout(root)
    if classes is not None and classes != layout.classes:
        raise InputError(f"{layout.root} has other classes than the run {options.folder} was trained on")
    ids = layout.read_list(images)
    scores = None
    if unscored:
        groups = {"some": spread(ids, 3 * options.images)}
        draw = partial(draw_cams, partial(read_image, layout, white), partial(read_cams, layout, dicts), layout.classes)
    else:
        read = partial(read_sample, layout, dicts)
        scores = score_images(read, ids, len(layout.classes), options.num_workers)
        groups = {name: [ids[i] for i in members] for name, members in examples(scores.each, options.images).items()}
        draw = partial(draw_sample, partial(read_image, layout, white), read, scores, layout.classes)
    write_sheet(sheet_file(options), groups, draw)
    return CamFindings(options.dict_dir, images, layout.classes, scores, build_gallery(groups, draw))


def spread(ids: Sequence[str], count: int) -> list[str]:
    """Up to `count` of some images, spread evenly over their list."""
    return [ids[i] for i in np.linspace(0, len(ids) - 1, min(count, len(ids))).round().astype(int)]


def read_cams(layout: Layout, dicts: Path, image_id: str) -> dict[int, np.ndarray]:
    """CAMs of an image, in its size."""
    return read_cam_dict(dicts / f"{image_id}.npy", upright_size(layout.image_path(image_id)), len(layout.classes))


def read_sample(layout: Layout, dicts: Path, image_id: str) -> tuple[dict[int, np.ndarray], np.ndarray]:
    """CAMs and true mask of an image."""
    mask = read_truth(layout, image_id)
    return read_cam_dict(dicts / f"{image_id}.npy", mask.shape, len(layout.classes)), mask


def read_image(layout: Layout, white: float, image_id: str) -> np.ndarray:
    """An image as (H, W, 3) uint8."""
    return np.asarray(open_rgb(layout.image_path(image_id), white))


if __name__ == "__main__":
    run_script(main)
