"""Masks and pictures of loose images: python predict.py dog.jpg my_folder --name NAME --labels dog,sofa"""

import glob
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from datasets.classes import require_class_names
from datasets.layouts.base import classes_at
from models import CamModel, SegModel, load_cam_model, load_seg_model
from utils.cams.masks import write_mask
from utils.cams.pictures import cam_overlay, save_picture
from utils.cams.pseudo_masks import threshold_mask
from utils.errors import InputError, run_script
from utils.experiment import SEG, kind_of, run_of
from utils.folders import is_hidden
from utils.images import IMAGE_SUFFIXES, images_in, named_by_reason, open_rgb
from utils.log import progress
from utils.machine.device import hardware
from utils.options.experiment import OPTIONS_FILE
from utils.options.flags import memory_advice, parse_options
from utils.options.inference import PredictOptions
from utils.scoring.best_threshold import evaluation_file, read_best

DEFAULT_BACKGROUND = 0.4


def main(args: list[str]) -> None:
    # Options
    options = parse_options(PredictOptions, args, "predict.py", __doc__)
    paths, out = images_of(options.image), Path(options.out)

    # Network, and the classes that it knows
    model = load_model(options)
    if isinstance(model, CamModel) and options.named_labels is not None:
        model.indices_of(options.named_labels)  # says which is unknown
    background, source = background_score(options)
    segments = isinstance(model, SegModel)
    require_own_files(paths, () if segments else options.named_labels or model.classes, out)
    how = "masks of a segmentation network" if segments else f"background score {background:g} ({source})"
    print(f"{model.weights} on {hardware(model.precision)}: {len(paths)} images, {how}")

    # Loop: an image that cannot be used does not keep the others from being done
    bad = []
    bar = progress(paths, "prediction")
    for path in bar:
        try:
            image = open_rgb(path, model.white)
            if isinstance(model, SegModel):
                mask, words = segment(model, image)
                cams: dict[str, np.ndarray] = {}
            else:
                cams, words = predict(model, image, options)
                mask = mask_of(cams, model, image, background)
        except InputError as error:
            bad.append(str(error) if str(path) in str(error) else f"{path}: {error}")
            continue
        for name, cam in cams.items():
            save_picture(cam_overlay(np.asarray(image), cam), picture_file(out, path.stem, name))
        write_mask(mask_file(out, path.stem), mask)
        bar.write(f"{path}: {words} -> {mask_file(out, path.stem)}")
    if bad:
        others = "; all others are done" if len(bad) < len(paths) else ""
        raise InputError(f"{len(bad)} of {len(paths)} images cannot be used: {'; '.join(bad)}{others}")


def images_of(arguments: Iterable[str]) -> list[Path]:
    """The image files that are meant, each once: those named, and those right inside the folders named, sorted.

    Raises:
        InputError: a folder holds none, or an argument is no name of a file.
    """
    paths = []
    for argument in arguments:
        path = Path(argument)
        if not path.is_dir():
            require_file_name(argument)
            paths.append(path)
            continue
        inside = list(images_in(path))
        others = [p for p in sorted(path.iterdir()) if p not in inside and not is_hidden(p.name) and not p.is_dir()]
        left_out = f"left out of {path}: {named_by_reason(others, path)}" if others else ""
        if not inside:
            looked = f"looked for {' '.join(IMAGE_SUFFIXES)}, not in sub-folders"
            raise InputError("; ".join((f"{path} holds no image ({looked})", *[left_out] * bool(others))))
        if left_out:
            print(left_out)
        paths += inside
    return list(dict.fromkeys(paths))


def require_file_name(name: str) -> None:
    """Raises InputError for what people give to other programs in the place of a file."""
    if os.path.lexists(name):
        return
    if name == "-":
        raise InputError("- is no image: predict.py reads files and folders, not its standard input")
    if re.match(r"\w+://", name):
        raise InputError(f"{name} is an address: download the image, and name the file")
    if glob.has_magic(name):
        matches = len(glob.glob(name, recursive=True))  # noqa: PTH207  # of an absolute pattern too
        why = f"{matches} files match, but its quotes keep them from the shell" if matches else "no file matches it"
        raise InputError(f"{name} is a pattern: {why}")


def background_score(options: PredictOptions) -> tuple[float, str]:
    """The background's score in the masks, and where it is from."""
    if options.threshold >= 0:
        return options.threshold, "--threshold"
    try:
        return read_best(options.folder, weights=""), f"the best of {evaluation_file(options.folder)}"
    except InputError:
        return DEFAULT_BACKGROUND, "the default"


def load_model(options: PredictOptions) -> CamModel | SegModel:
    """The network, with class names that files can be named after.

    Raises:
        InputError: there is none, or flags are given that its kind does without.
    """
    if kind_of(options.folder) == SEG:
        return load_segmentation(options)
    run, classes = run_of(options.folder, options.exp, options.data_path)
    if classes is None:
        classes = classes_at(Path(run.data_path))
    require_class_names(classes, options.folder / OPTIONS_FILE)
    epoch = options.load_epo if options.load_epo >= 0 else None
    weights = options.weights or None
    size, cap = (value if value >= 0 else None for value in (options.infer_size, options.infer_cap))
    return load_cam_model(
        options.folder, epoch, weights, options.device, exp=options.exp, classes=classes, infer_size=size, infer_cap=cap
    )


def load_segmentation(options: PredictOptions) -> SegModel:
    """The segmentation network of a run of train_seg.py."""
    if options.named_labels is not None or options.threshold >= 0:
        raise InputError(f"{options.folder} is a segmentation network, which needs neither --labels nor --threshold")
    epoch = options.load_epo if options.load_epo >= 0 else None
    size, cap = (value if value >= 0 else None for value in (options.infer_size, options.infer_cap))
    return load_seg_model(options.folder, epoch, options.weights or None, options.device, infer_size=size, infer_cap=cap)


def mask_file(out: Path, stem: str) -> Path:
    """Where the mask of an image goes."""
    return out / f"{stem}.png"


def picture_file(out: Path, stem: str, name: str) -> Path:
    """Where the picture of a class in an image goes."""
    return out / f"{stem}_{name}.png"


def require_own_files(paths: Sequence[Path], names: Sequence[str], out: Path) -> None:
    """Sees to it that no result takes the place of another one or of an image.

    Args:
        paths: the images.
        names: classes that may get a picture.
        out: where results go.

    Raises:
        InputError: one would.
    """
    images = {os.path.realpath(path) for path in paths}  # which links in a circle do not disturb
    owners: dict[Path, Path] = {}
    for path in paths:
        for file in (mask_file(out, path.stem), *(picture_file(out, path.stem, name) for name in names)):
            if os.path.realpath(file) in images:
                raise InputError(f"{file}, a result of {path}, would replace an image: name another folder with --out")
            if (other := owners.setdefault(file, path)) != path:
                raise InputError(
                    f"{other} and {path} would both be written to {file}: rename one, or give them in two calls"
                )


def predict(model: CamModel, image: Image.Image, options: PredictOptions) -> tuple[dict[str, np.ndarray], str]:
    """CAMs of the classes in an image, and these in words.

    Raises:
        InputError: the image cannot be used.
    """
    labels = options.named_labels
    if labels is not None:
        return model.cam(image, labels), ", ".join(labels)
    cams, found = model.found(image, options.label_threshold)
    words = ", ".join(f"{name} {p:.2f}" for name, p in found.items())
    return cams, words or f"no class of probability {options.label_threshold:g} or more"


def mask_of(cams: dict[str, np.ndarray], model: CamModel, image: Image.Image, background: float) -> np.ndarray:
    """The mask of an image from its CAMs, (H, W) uint8."""
    by_index = {index: cams[name] for name, index in model.indices_of(tuple(cams)).items()}
    return threshold_mask(by_index, (image.height, image.width), (background,))


def segment(model: SegModel, image: Image.Image) -> tuple[np.ndarray, str]:
    """The mask that a segmentation network makes of an image and its mirror, and what it shows in words."""
    mask = model.mask(image, mirror=True)
    shares = {model.classes[c - 1]: (mask == c).mean() for c in np.unique(mask) if c}
    return mask, ", ".join(f"{name} {100 * share:.0f} %" for name, share in shares.items()) or "background alone"


if __name__ == "__main__":
    run_script(main, memory_advice(PredictOptions))
