"""Prepares a data set from its release for training and scoring: python -m datasets.prepare coco|voc [flags]

coco: masks and label tables from annotations/instances_<split>.json. voc: SegmentationClassAug and the list train_aug from
the SBD release. Both can be stopped and restarted; existing masks are kept.
"""

import csv
import functools
import hashlib
import io
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from utils.cams.masks import write_mask
from utils.errors import InputError, run_script
from utils.files import whole_file
from utils.machine.parallel import in_parallel
from utils.options.data import PrepareCocoOptions, PrepareVocOptions
from utils.options.flags import parse_options
from utils.records import claim

from .labels.classes import COCO_CLASSES, class_names
from .layouts.coco_annotations import class_indices, draw_mask, load_annotations
from .layouts.voc import VocLayout, sbd_folder, sbd_ids
from .lists import read_ids
from .matlab import struct_field

MOVE_AWAY = "Move it away first, or name another folder with --out"
MASKS_AT_A_TIME = 32


def main(args: list[str]) -> None:
    match args:
        case ["coco", *flags]:
            prepare_coco(parse_options(PrepareCocoOptions, flags, "python -m datasets.prepare coco", prepare_coco.__doc__))
        case ["voc", *flags]:
            prepare_voc(parse_options(PrepareVocOptions, flags, "python -m datasets.prepare voc", prepare_voc.__doc__))
        case ["-h" | "--help"]:
            print(__doc__)
        case _:
            raise InputError(
                "say what to prepare: python -m datasets.prepare coco, or voc; --help after that lists the flags"
            )


def prepare_coco(options: PrepareCocoOptions) -> None:
    """Masks and label tables from COCO's instances."""
    root = Path(options.data_path)
    classes = class_names(root, COCO_CLASSES)
    sources = {split: root / "annotations" / f"instances_{split}.json" for split in options.splits}
    for path in sources.values():
        if not path.is_file():
            raise InputError(
                f"{path} is missing: it is in annotations_trainval2014.zip of https://cocodataset.org/#download"
            )

    for split, path in sources.items():
        folder = Path(options.out or root / "SegmentationClass") / split
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        coco = load_annotations(path, classes)
        index = class_indices(coco)
        claim(folder, {"annotations": digest[:16], "crowds": options.crowds}, "*.png", MOVE_AWAY)

        names = {image["id"]: Path(image["file_name"]).stem for image in coco.imgs.values()}
        table = {
            name: [classes[c] for c in sorted({index[annotation["category_id"]] for annotation in coco.imgToAnns[image]})]
            for image, name in sorted(names.items())
        }
        labels = Path(options.out or path.parent) / f"labels_{split}.csv"
        write_label_table(labels, table)

        missing = [image for image, name in sorted(names.items()) if not (folder / f"{name}.png").exists()]
        tasks = [
            (folder / f"{names[i]}.png", coco.imgToAnns[i], coco.imgs[i]["height"], coco.imgs[i]["width"]) for i in missing
        ]
        write = functools.partial(write_coco_mask, index=index, crowds=options.crowds)
        for _ in in_parallel(write, tasks, options.num_workers, split, MASKS_AT_A_TIME):
            pass
        unlabelled = sum(not present for present in table.values())
        print(f"{split}: {len(missing)} masks written to {folder}, {len(names) - len(missing)} were there")
        print(f"{split}: {labels}, {unlabelled} of {len(table)} images without a label")


def write_coco_mask(task: tuple[Path, list[dict], int, int], index: dict[int, int], crowds: str) -> None:
    """Writes the mask of one image."""
    path, annotations, height, width = task
    try:
        mask = draw_mask(annotations, index, height, width, crowds)
    # A damaged region can raise nearly anything.
    except Exception as error:
        raise InputError(f"the annotations of {path.stem} cannot be drawn: {error}") from error
    write_mask(path, mask)


def write_label_table(path: Path, table: Mapping[str, Sequence[str]]) -> None:
    """Writes lines `image,class,class,…`."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([name, *labels] for name, labels in table.items())
    with whole_file(path) as file:
        file.write(text.getvalue().encode())


def prepare_voc(options: PrepareVocOptions) -> None:
    """SegmentationClassAug and the list train_aug from VOC 2012 and SBD."""
    root = Path(options.data_path)
    sbd = Path(options.sbd_path or root / "SBD")
    if options.download:
        download_voc(root, sbd)
    layout = VocLayout(root)
    annotations = sbd_folder(sbd) / "cls"
    held_out = set(layout.read_list("val"))
    ids = sorted({*sbd_ids(sbd), *layout.read_list("train")} - held_out)
    for image_id in ids:
        layout.image_path(image_id)  # raises InputError if it is missing

    folder = root / "SegmentationClassAug"
    claim(folder, {"release": "SBD"}, "*.png", "Move it away first")
    tasks = []
    for image_id in ids:
        own = layout.mask_path(image_id)
        if not (folder / f"{image_id}.png").exists():
            tasks.append((folder / f"{image_id}.png", own if own.exists() else annotations / f"{image_id}.mat"))
    for _ in in_parallel(write_sbd_mask, tasks, options.num_workers, "SBD", MASKS_AT_A_TIME):
        pass
    train_aug = layout.list_path("train_aug")
    if train_aug.exists() and set(read_ids(train_aug)) != {*ids}:
        raise InputError(f"{train_aug} exists and names other images than SBD and train less val; move it away first")
    with whole_file(train_aug) as file:
        file.write("".join(f"{image_id}\n" for image_id in ids).encode())
    print(f"{len(tasks)} masks written to {folder}, {len(ids) - len(tasks)} were there")
    print(f"{train_aug}: {len(ids)} images, those of SBD and train that are not in val")


def write_sbd_mask(task: tuple[Path, Path]) -> None:
    """Writes one mask: a copy of VOC's PNG, or converted from SBD's MATLAB file."""
    path, source = task
    if source.suffix == ".png":
        with whole_file(path) as file:
            file.write(source.read_bytes())
    else:
        write_mask(path, sbd_mask(source))


def sbd_mask(path: Path) -> np.ndarray:
    """The mask in one of SBD's `cls/*.mat`: (H, W) uint8, 0 background, 1 .. 20.

    Raises:
        InputError: the file is missing, damaged or holds something else.
    """
    try:
        mask = struct_field(path.read_bytes(), "GTcls", "Segmentation")
    except FileNotFoundError as error:
        raise InputError(f"{path} is missing") from error
    # A damaged file can raise nearly anything.
    except Exception as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path} is no annotation of SBD: {type(error).__name__}: {reason}") from error
    if mask.ndim != 2 or mask.dtype != np.uint8 or mask.max(initial=0) > 20:
        raise InputError(f"{path} is no annotation of SBD: it holds {mask.dtype} {mask.shape}")
    return mask


def download_voc(root: Path, sbd: Path) -> None:
    """Downloads VOC 2012 and SBD, if they are missing, with torchvision.

    Raises:
        InputError: the download failed.
    """
    from torchvision.datasets import SBDataset, VOCSegmentation
    from torchvision.datasets.utils import download_and_extract_archive

    try:
        if not (root / "JPEGImages").is_dir():
            VOCSegmentation(str(root.parent), year="2012", image_set="trainval", download=True)
            root.mkdir(parents=True, exist_ok=True)
            # JPEGImages, which marks the data set as complete, is moved last.
            for part in sorted(
                (root.parent / "VOCdevkit" / "VOC2012").iterdir(), key=lambda part: part.name == "JPEGImages"
            ):
                if not (root / part.name).exists():
                    shutil.move(part, root / part.name)
        if not sbd.is_dir():
            # Renamed only when complete, so that an interrupted download is repeated.
            unfinished = sbd.with_name(f"{sbd.name}.part")
            # Not by SBDataset itself, which needs SciPy to read what it has downloaded.
            download_and_extract_archive(SBDataset.url, str(unfinished), filename=SBDataset.filename, md5=SBDataset.md5)
            unfinished.rename(sbd)
    # However the download fails, the message names the alternative.
    except Exception as error:
        raise InputError(f"--download failed: {error}. docs/data_and_weights.md says where the releases are") from error


if __name__ == "__main__":
    run_script(main)
