"""Shows how CAMs grow from epoch to epoch, as an animation of at most 2 MB: python -m tools.animate --name NAME"""

from utils.command_line import check_flags
from utils.options.tools.pictures import AnimateOptions

if __name__ == "__main__":  # before the imports that take seconds
    check_flags(AnimateOptions)

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from datasets.layouts.base import Layout
from datasets.runs import open_run
from models import load_network
from utils.animation import SIDES, animation_file, evenly_spaced, small_animation
from utils.cams.inference import network_pixels, predict
from utils.cams.pictures import cam_overlay
from utils.errors import InputError, run_script
from utils.experiment.folder import epoch_file, epochs_there, read_scores
from utils.files import whole_file
from utils.images import open_rgb
from utils.log import progress
from utils.machine.device import Precision, prepare_device
from utils.options.flags import memory_advice, parse_options
from utils.options.training import TrainOptions
from utils.picture_table import Cell, Group, fitted, picture_table

MOST_FRAMES = 60
"""Most epochs shown; of longer runs, evenly spaced ones."""
CLASSES_SHOWN = 2
"""Most classes shown of an image: its first ones in the order of the data set."""
IMAGES_ABREAST = 4
NOTE = "In heat maps (CAMs), red is a high score of the class and blue a low one."
BAR_HEIGHT = 4
BAR, BAR_LEFT = (0, 114, 178), (220, 223, 226)


@dataclass(frozen=True)
class Subject:
    """An image that is shown."""

    image_id: str
    pixels: tuple[torch.Tensor, ...]  # (3, H, W) uint8 at the network's input, from `network_pixels`
    picture: np.ndarray  # (H, W, 3) uint8, at the largest size that is shown
    labels: tuple[int, ...]


def main(args: list[str]) -> None:
    # Options: data set, classes and architecture are the run's
    options = parse_options(AnimateOptions, args, "python -m tools.animate", __doc__)
    if not options.folder.is_dir():
        raise InputError(f"{options.folder} is missing: give the --name of an experiment, or its folder with --experiments")
    run, layout = open_run(options.folder, "", options.data_path, options.val_list)
    epochs = epochs_of(options.folder)
    precision = Precision("off", prepare_device(options.device))

    # Images
    ids = images_of(options.images, options.count, layout, run.val_list)
    subjects = [subject(layout, image_id, run) for image_id in ids]

    # CAMs: the network of every epoch sees the same images
    maps = [overlays(options.folder, epoch, subjects, layout, run, precision) for epoch in progress(epochs, "epochs")]

    # Animation
    out = Path(options.out) if options.out else animation_file(options.folder)
    scores = read_scores(options.folder)

    def draw(i: int, side: int) -> np.ndarray:
        miou = scores.get(str(epochs[i]), {}).get("miou")
        scored = "" if miou is None else f" · mIoU {miou:.1f} %"
        title = f"{options.name}: CAMs after epoch {epochs[i]} (of {epochs[0]} to {epochs[-1]}){scored}"
        table = picture_table(groups_of(subjects, maps[i], layout.classes), side, title, NOTE)
        return with_bar(table, (i + 1) / len(epochs))

    data, side, frames = small_animation(draw, len(epochs), out.suffix[1:].lower())
    with whole_file(out) as file:
        file.write(data)
    print(
        f"done: {out}, {len(data) / 1e6:.2f} MB: {len(subjects)} images at {side} pixels, {frames} of "
        f"{len(epochs_there(options.folder))} epochs"
    )


def epochs_of(folder: Path) -> list[int]:
    """The epochs that are shown.

    Raises:
        InputError: there are weights of fewer than two epochs.
    """
    epochs = epochs_there(folder)
    if len(epochs) < 2:
        there = "one epoch alone" if epochs else "no epoch"
        raise InputError(f"{folder / 'ckpt'} holds the weights of {there}, and growth takes two: train without --keep 1")
    return [epochs[i] for i in evenly_spaced(len(epochs), MOST_FRAMES)]


def images_of(images: Sequence[str], count: int, layout: Layout, val_list: str) -> list[str]:
    """Ids of the images that are shown.

    Args:
        images: requested ids; empty: `count` images of `val_list`.
        count: number of images, evenly spaced among those of the list that have labels.
        layout: the data set.
        val_list: name of a list.

    Raises:
        InputError: no image of the list has a label.
    """
    if images:
        return list(images)
    ids = layout.read_list(val_list)
    labelled = [i for i, row in zip(ids, layout.labels(ids), strict=True) if row.any()]
    if not labelled:
        raise InputError(f"no image of {val_list} has a label, so that there are no CAMs to show")
    return [labelled[i] for i in evenly_spaced(len(labelled), count)]


def subject(layout: Layout, image_id: str, run: TrainOptions) -> Subject:
    """An image, with the network's input and the picture that is shown.

    Raises:
        InputError: it is missing, cannot be read, or has no label.
    """
    image = open_rgb(layout.image_path(image_id), run.white_level)
    labels = layout.labels([image_id])[0].nonzero()[0].tolist()[:CLASSES_SHOWN]
    if not labels:
        raise InputError(f"{image_id} has no label, so that there is no CAM to show")
    pixels = network_pixels(image, run.infer_size, run.infer_scales, run.infer_cap)
    return Subject(image_id, pixels, fitted(np.asarray(image), SIDES[0]), tuple(labels))


def overlays(
    folder: Path, epoch: int, subjects: list[Subject], layout: Layout, run: TrainOptions, precision: Precision
) -> list[list[np.ndarray]]:
    """CAMs by the network of one epoch: for every image and each of its classes, a heat map over it, (H, W, 3) uint8.

    Raises:
        InputError: the weights are damaged or do not fit.
    """
    net = load_network(epoch_file(folder, epoch), len(layout.classes), run).to(precision.device).eval()
    result = []
    for one in subjects:
        prediction = predict(net, [(one.image_id, one.pixels)], precision)
        labels = torch.tensor(one.labels, device=precision.device)
        cams = prediction.cams(0, labels, one.picture.shape[:2]).cpu().numpy()
        result.append([cam_overlay(one.picture, cam) for cam in cams])
    return result


def groups_of(subjects: list[Subject], maps: list[list[np.ndarray]], classes: tuple[str, ...]) -> list[Group]:
    """A column for every image: the image, and below it a heat map for each of its classes."""
    groups = []
    for start in range(0, len(subjects), IMAGES_ABREAST):
        abreast = slice(start, start + IMAGES_ABREAST)
        shown = list(zip(subjects[abreast], maps[abreast], strict=True))
        rows = [[Cell(one.picture, one.image_id) for one, _ in shown]]
        for i in range(max(len(one.labels) for one, _ in shown)):
            rows.append(
                [Cell(heat[i], f"CAM of {classes[one.labels[i]]}") if i < len(one.labels) else Cell() for one, heat in shown]
            )
        groups.append(Group(rows))
    return groups


def with_bar(frame: np.ndarray, share: float) -> np.ndarray:
    """A frame with a progress bar of the run below it; `share` is the part that is done."""
    bar = np.full((BAR_HEIGHT, frame.shape[1], 3), BAR_LEFT, np.uint8)
    bar[:, : round(share * frame.shape[1])] = BAR
    return np.vstack((frame, bar))


if __name__ == "__main__":
    run_script(main, memory_advice(AnimateOptions))
