"""Polygons of an experiment's masks, a head start for annotators: python -m tools.polygons --name NAME --format labelme"""

from utils.command_line import check_flags
from utils.options.tools.polygons import PolygonOptions

if __name__ == "__main__":  # before the imports that take seconds
    check_flags(PolygonOptions)

from pathlib import Path

import numpy as np

from datasets.layouts.base import Layout
from datasets.runs import layout_of
from utils.cams.folders import inside_or_path, start_folder
from utils.cams.masks import read_mask
from utils.errors import InputError, run_script
from utils.experiment.folder import require_experiment
from utils.experiment.saved import scored_run_of
from utils.images import open_rgb
from utils.log import progress
from utils.machine.locks import reading, writing
from utils.options.flags import parse_options
from utils.predictions.polygon_files import ANNOTATIONS_FILE, CocoFile, common_folder, write_labelme
from utils.records import made_with
from utils.tar_members import archive_of


def main(args: list[str]) -> None:
    # Options: data set and classes are the run's
    options = parse_options(PolygonOptions, args, "python -m tools.polygons", __doc__)
    require_experiment(options.folder)
    run, classes = scored_run_of(options.folder, "", options.data_path)
    layout = layout_of(options.folder, run.data_path, classes)

    # Files: all masks of the folder, with their images
    folder = inside_or_path(options.folder, options.png_dir)
    target = Path(options.out) if options.out else options.folder / options.format
    images = images_of(folder, layout)
    left = unwritten(images, target, options)
    there = f"; {len(images) - len(left)} of them there already" if len(left) < len(images) else ""
    print(f"{folder}: polygons of {len(images)} masks for {options.format}, tolerance {options.tolerance:g} pixels{there}")

    # Loop
    coco = CocoFile(layout.classes, common_folder([*images.values()]), options.tolerance)
    with reading(folder), writing(target):
        if options.format == "labelme":
            record = made_with(folder, options.folder) | {"tolerance": options.tolerance}
            start_folder(target, record, "*.json", options.overwrite)
        for image_id, image in progress(left.items(), "polygons"):
            mask = mask_of(folder / f"{image_id}.png", image, run.white_level, len(layout.classes))
            if options.format == "coco":
                coco.add(image, mask)
            else:
                write_labelme(target / f"{image_id}.json", image, mask, layout.classes, options.tolerance)
        if options.format == "coco":
            target = target / ANNOTATIONS_FILE
            coco.write(target)
    print(f"done: {target}")


def images_of(folder: Path, layout: Layout) -> dict[str, Path]:
    """The image files by id, of all masks in a folder.

    Raises:
        InputError: there is no mask, or one without an image; or images are in shards.
    """
    ids = [path.relative_to(folder).with_suffix("").as_posix() for path in sorted(folder.rglob("*.png"))]
    if not ids:
        raise InputError(f"{folder} holds no masks: make them first (python -m tools.masks), or name another --png-dir")
    paths = {image_id: layout.image_path(image_id) for image_id in ids}
    if packed := next((path for path in paths.values() if archive_of(path) != str(path)), None):
        raise InputError(f"{packed} is in a shard, and polygons name files of images: unpack the shards first")
    return paths


def unwritten(images: dict[str, Path], target: Path, options: PolygonOptions) -> dict[str, Path]:
    """The images without a file of polygons: those that are there may have been edited since.

    Raises:
        InputError: the one file of all images is there.
    """
    if options.overwrite:
        return images
    one = target / ANNOTATIONS_FILE
    if options.format == "labelme":
        return {image_id: image for image_id, image in images.items() if not (target / f"{image_id}.json").exists()}
    if one.exists():
        raise InputError(f"{one} exists, and may have been edited: --overwrite replaces it, --out names another folder")
    return images


def mask_of(path: Path, image: Path, white: float, num_classes: int) -> np.ndarray:
    """A mask, (H, W) of `label_type`.

    Raises:
        InputError: the mask or its image is damaged, or they differ in size.
    """
    opened = open_rgb(image, white)
    return read_mask(path, (opened.height, opened.width), num_classes)


if __name__ == "__main__":
    run_script(main)
