"""Masks and pictures of loose images: python predict.py dog.jpg my_folder --name NAME --labels dog,sofa"""

from utils.command_line import check_flags
from utils.options.inference import PredictOptions

if __name__ == "__main__":  # before the imports that take seconds
    check_flags(PredictOptions)

import glob
import os
import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from datasets.labels.classes import require_class_names
from datasets.layouts.base import classes_at
from models import CamModel, SegModel, load_cam_model, load_seg_model
from utils.errors import InputError, run_script
from utils.experiment.saved import SEG, kind_of, run_of
from utils.folders import is_hidden
from utils.images import IMAGE_SUFFIXES, images_in, named_by_reason, open_rgb
from utils.log import progress
from utils.machine.device import hardware
from utils.options.experiment import OPTIONS_FILE
from utils.options.flags import memory_advice, parse_options
from utils.predictions.predictions import Found, Predictions
from utils.scoring.best_threshold import background_of


def main(args: list[str]) -> None:
    # Options
    options = parse_options(PredictOptions, args, "predict.py", __doc__)
    paths = images_of(options.image)

    # Network, and the classes that it knows
    model = load_model(options)
    segments = isinstance(model, SegModel)
    if isinstance(model, CamModel) and options.named_labels is not None:
        model.indices_of(options.named_labels)  # says which is unknown
    background, source = background_score(options, model.weights)

    # Files
    said = {"weights": str(model.weights), "background_score": None if segments else background}
    out = Predictions(Path(options.out), paths, model.classes, said, options.export, options.tolerance)
    out.require_own_files(() if segments else options.named_labels or model.classes)
    how = "masks of a segmentation network" if segments else f"background score {background:g} ({source})"
    print(f"{model.weights} on {hardware(model.precision)}: {len(paths)} images, {how}")

    # Loop: an image that cannot be used does not stop the others
    bar = progress(paths, "prediction")
    try:
        for path in bar:
            try:
                image = open_rgb(path, model.white)
                found = segment(model, image) if isinstance(model, SegModel) else predict(model, image, options, background)
            except InputError as error:
                out.fail(path, str(error) if str(path) in str(error) else f"{path}: {error}")
                continue
            out.add(path, np.asarray(image), found)
            bar.write(f"{path}: {found.words} -> {out.mask_file(path.stem)}")
    finally:  # what was done before Ctrl-C counts too
        out.close()
    if bad := [one["reason"] for one in out.failed]:
        others = "; all others are done" if len(bad) < len(paths) else ""
        raise InputError(f"{len(bad)} of {len(paths)} images cannot be used: {'; '.join(bad)}{others}")


def images_of(arguments: Iterable[str]) -> list[Path]:
    """The image files to predict, each once: named files, and those directly inside named folders, sorted.

    Raises:
        InputError: a folder holds none, or an argument is no file name.
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
            raise InputError("; ".join(filter(None, (f"{path} holds no image ({looked})", left_out))))
        if left_out:
            print(left_out)
        paths += inside
    return list(dict.fromkeys(paths))


def require_file_name(name: str) -> None:
    """Raises InputError for standard input, a web address or a pattern in the place of a file."""
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


def background_score(options: PredictOptions, weights: Path) -> tuple[float, str]:
    """The background's score in the masks, and where it is from."""
    return (options.threshold, "--threshold") if options.threshold >= 0 else background_of(options.folder, weights)


def load_model(options: PredictOptions) -> CamModel | SegModel:
    """The network, with class names that files can be named after.

    Raises:
        InputError: there is none, or flags are given that this kind of network does not use.
    """
    if kind_of(options.folder) == SEG:
        return load_segmentation(options)
    run, classes = run_of(options.folder, options.exp, options.data_path)
    if classes is None:
        classes = classes_at(Path(run.data_path))
    require_class_names(classes, options.folder / OPTIONS_FILE)
    return load_cam_model(options.folder, **options.network, exp=options.exp, classes=classes)


def load_segmentation(options: PredictOptions) -> SegModel:
    """The segmentation network of a run of train_seg.py."""
    if options.named_labels is not None or options.threshold >= 0:
        raise InputError(f"{options.folder} is a segmentation network, which needs neither --labels nor --threshold")
    return load_seg_model(options.folder, **options.network)


def predict(model: CamModel, image: Image.Image, options: PredictOptions, background: float) -> Found:
    """What a network finds of the classes in an image.

    Raises:
        InputError: the image cannot be used.
    """
    prediction, size = model.predict(image)
    probabilities = model.probable(prediction, 0.0)
    names = options.named_labels
    if names is None:
        names = tuple(model.probable(prediction, options.label_threshold))
        words = ", ".join(f"{name} {probabilities[name]:.2f}" for name in names)
        words = words or f"no class of probability {options.label_threshold:g} or more"
    else:
        words = ", ".join(names)
    cams = model.named_cams(prediction, model.indices_of(names), size)
    return Found(model.mask_of(cams, size, background), words, cams, {name: probabilities[name] for name in names})


def segment(model: SegModel, image: Image.Image) -> Found:
    """What a segmentation network finds in an image and its mirror."""
    mask = model.mask(image, mirror=True)
    shares = {model.classes[c - 1]: (mask == c).mean() for c in np.unique(mask) if c}
    return Found(mask, ", ".join(f"{name} {100 * share:.0f} %" for name, share in shares.items()) or "background alone")


if __name__ == "__main__":
    run_script(main, memory_advice(PredictOptions))
