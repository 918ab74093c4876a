"""Writes report.html, one file that shows an experiment to anyone: python -m tools.report --name NAME"""

from utils.command_line import check_flags
from utils.options.results import ReportOptions

if __name__ == "__main__":  # before the imports that take seconds
    check_flags(ReportOptions)

import dataclasses
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from datasets.layouts.base import Layout, is_data_set, open_layout, read_truth
from datasets.runs import require_classes
from tools.report.gallery import Groups, build_gallery
from tools.report.history import read_losses, read_progress
from tools.report.mask_folders import MaskFolder, crf_masks, segmentation_masks
from tools.report.page import CamFindings, Findings, build_page, name_flags
from tools.report.scoring import ImageScores, examples, score_images, score_masks, trimmed
from tools.report.sheet import write_sheet
from tools.report.views import View, view
from utils.animation import animation_file, evenly_spaced, read_animation
from utils.cams.files import read_cam_dict
from utils.cams.folders import inside_or_path, note_of_other_weights
from utils.errors import InputError, run_script
from utils.experiment.folder import require_experiment
from utils.experiment.saved import run_of
from utils.files import whole_file
from utils.images import open_rgb
from utils.machine.locks import reading
from utils.options.flags import parse_options
from utils.options.training import TrainOptions
from utils.records import made_with
from utils.scoring.best_threshold import DEFAULT_BACKGROUND, evaluation_file, read_best


def main(args: list[str]) -> None:
    # Options: data set and classes are the run's
    options = parse_options(ReportOptions, args, "python -m tools.report", __doc__)
    require_experiment(options.folder)
    run, classes = run_of(options.folder, "", options.data_path)
    run = dataclasses.replace(run, name=options.name, experiments=options.experiments)
    images = options.list or run.val_list

    # Log, scores and animation of the training
    losses, progress = read_losses(options.folder / "log.txt"), read_progress(options.folder)
    animation = read_animation(animation_file(options.folder))

    # CAM files
    layout = open_layout(Path(run.data_path)) if is_data_set(Path(run.data_path)) else None
    dicts = inside_or_path(options.folder, options.dict_dir)
    reason = why_no_cams(run, layout, dicts)
    why_unscored = "" if layout is None else why_no_scores(layout, "" if reason else images)
    if reason or layout is None:
        if classes is None and not (losses or progress):
            raise InputError(f"{options.folder} holds no experiment: no options.json, losses, scores or CAMs are there")
        cams: CamFindings | str = reason
    else:
        require_classes(layout, classes, options.folder)
        with reading(dicts):
            cams = read_cams(options, run, images, layout, dicts, why_unscored)

    # Page
    out = report_file(options)
    page = build_page(Findings(run, classes is not None, classes or (), losses, progress, why_unscored, animation, cams))
    with whole_file(out) as file:
        file.write(page)
    pictures = f"; left out: {reason}" if reason else f", and its pictures alone: {picture_file(options)}"
    unscored = f"; not scored: {why_unscored}" if why_unscored and not reason else ""
    print(f"done: {out}, {len(page) / 1e6:.1f} MB{pictures}{unscored}")


def report_file(options: ReportOptions) -> Path:
    """The file of the page."""
    return Path(options.out) if options.out else options.folder / "report.html"


def picture_file(options: ReportOptions) -> Path:
    """The file of the page's pictures as one image: beside the page by default."""
    return Path(options.picture) if options.picture else report_file(options).with_suffix(".png")


def why_no_cams(run: TrainOptions, layout: Layout | None, dicts: Path) -> str:
    """A sentence on what is missing to show CAM files, and how to make it; empty if nothing is missing."""
    if next(dicts.glob("*.npy"), None) is None:
        return f"There are no CAMs in {dicts}: python infer_trm.py {name_flags(run)} --dict writes them."
    if layout is None:
        return f"The data set {run.data_path} is not here: --data-path names another place of it."
    return ""


def why_no_scores(layout: Layout, images: str) -> str:
    """A sentence on the true masks that are missing to score CAMs; empty if all are there.

    Args:
        layout: the data set.
        images: list of the images; empty: only check that there is a folder of masks.
    """
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


def read_cams(
    options: ReportOptions, run: TrainOptions, images: str, layout: Layout, dicts: Path, why_unscored: str
) -> CamFindings:
    """Scores the CAM files if there are true masks, and draws some of the images.

    Args:
        options: options of the command.
        run: options of the run.
        images: list of the images.
        layout: the data set.
        dicts: folder of the CAM files.
        why_unscored: why CAMs cannot be scored; empty if they can.

    Raises:
        InputError: a file is missing, damaged or misshapen.
    """
    ids = layout.read_list(images)
    others = crf_masks(options.folder)
    if notes := [note for one in others if (note := note_of_other_weights(one.folder, options.folder))]:
        print(*notes, sep="\n")
        others = []
    if options.seg:
        others.append(segmentation_masks(inside_or_path(options.folder, options.seg)))

    # Scores
    scores: ImageScores | None = None
    mious: dict[str, float | None] = {}
    if why_unscored:
        threshold, threshold_from = threshold_without_masks(dicts, options.folder)
    else:
        scores = score_images(partial(read_sample, layout, dicts), ids, len(layout.classes), options.num_workers)
        threshold, threshold_from = scores.threshold, "the best for these images"
        mious = {folder.heading: score_folder(folder, layout, ids, options.num_workers) for folder in others}

    # Pictures
    on_page = chosen(scores, len(ids), options.images)
    on_sheet = trimmed(chosen(scores, len(ids), -(-options.rows // 3)), options.rows) if options.rows else on_page
    views: dict[int, View] = {}
    for i in {*numbers(on_page), *numbers(on_sheet)}:
        image = np.asarray(open_rgb(layout.image_path(ids[i]), run.white_level))
        views[i] = view_of(ids[i], image, layout, dicts, others, threshold, scored=not why_unscored)
    title = f"{options.name}: {len(ids)} images of {images}, background score {threshold:.2f}"
    own = None if scores is None else float(scores.together.miou[scores.together.best])
    known = {"mask from the CAMs": own, **mious}
    write_sheet(picture_file(options), views_of(on_sheet, views), title, known)
    gallery = build_gallery(views_of(on_page, views))
    return CamFindings(
        options.dict_dir, images, layout.classes, scores or why_unscored, mious, gallery, threshold, threshold_from
    )


def threshold_without_masks(dicts: Path, folder: Path) -> tuple[float, str]:
    """A score of the background for CAMs of images without true masks, and where it comes from."""
    try:
        return read_best(dicts, made_with(dicts, folder)), f"the best of {evaluation_file(dicts.parent, dicts.name).name}"
    except InputError:
        return DEFAULT_BACKGROUND, "a usual value"


def score_folder(folder: MaskFolder, layout: Layout, ids: Sequence[str], workers: int) -> float | None:
    """mIoU in percent of the masks in a folder; None if masks of some images are missing."""
    if not folder.has_all(ids):
        return None
    return score_masks(partial(read_pair, layout, folder), ids, len(layout.classes), workers)


def chosen(scores: ImageScores | None, total: int, count: int) -> dict[str, list[int]]:
    """Indices of the images that are shown, by group.

    Args:
        scores: of all images; None if they are not scored.
        total: number of images.
        count: images of each of three groups.
    """
    groups = {} if scores is None else {name: some for name, some in examples(scores.each, count).items() if some}
    return groups or {"unscored": [*evenly_spaced(total, 3 * count)]}


def numbers(groups: Mapping[str, Sequence[int]]) -> list[int]:
    """Indices of the images of all groups."""
    return [i for members in groups.values() for i in members]


def views_of(groups: Mapping[str, Sequence[int]], views: Mapping[int, View]) -> Groups:
    """Groups with the views of their images."""
    return {name: [views[i] for i in members] for name, members in groups.items()}


def view_of(
    image_id: str,
    image: np.ndarray,
    layout: Layout,
    dicts: Path,
    others: Sequence[MaskFolder],
    threshold: float,
    scored: bool,
) -> View:
    """The view of an image (H, W, 3) uint8; see `views.view`."""
    shape, count = (image.shape[0], image.shape[1]), len(layout.classes)
    masks = {one.heading: one.read(image_id, shape, count) if one.has_all([image_id]) else None for one in others}
    cams = read_cam_dict(dicts / f"{image_id}.npy", shape, count)
    truth = read_truth(layout, image_id) if scored else None
    return view(image_id, image, cams, truth, masks, threshold, layout.classes)


def read_sample(layout: Layout, dicts: Path, image_id: str) -> tuple[dict[int, np.ndarray], np.ndarray]:
    """CAMs and true mask of an image."""
    mask = read_truth(layout, image_id)
    return read_cam_dict(dicts / f"{image_id}.npy", mask.shape, len(layout.classes)), mask


def read_pair(layout: Layout, folder: MaskFolder, image_id: str) -> tuple[np.ndarray, np.ndarray]:
    """The mask of an image in a folder, and the true one."""
    truth = read_truth(layout, image_id)
    return folder.read(image_id, truth.shape, len(layout.classes)), truth


if __name__ == "__main__":
    run_script(main)
