"""Names of the classes of a data set."""

from collections.abc import Sequence
from pathlib import Path

from utils.errors import InputError

from .spelling import normal_name, require_one_spelling, why_no_class

VOC_CLASSES = (
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
)

COCO_NAMES = (
    "person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light, fire hydrant, stop sign, "
    "parking meter, bench, bird, cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe, backpack, umbrella, "
    "handbag, tie, suitcase, frisbee, skis, snowboard, sports ball, kite, baseball bat, baseball glove, skateboard, "
    "surfboard, tennis racket, bottle, wine glass, cup, fork, knife, spoon, bowl, banana, apple, sandwich, orange, "
    "broccoli, carrot, hot dog, pizza, donut, cake, chair, couch, potted plant, bed, dining table, toilet, tv, "
    "laptop, mouse, remote, keyboard, cell phone, microwave, oven, toaster, sink, refrigerator, book, clock, vase, "
    "scissors, teddy bear, hair drier, toothbrush"
)
COCO_CLASSES = tuple(COCO_NAMES.split(", "))
"""In the official order: by ascending category id (80 of the ids 1 .. 90 are used)."""


MOST_CLASSES = 65_534
"""What masks of 16 bits have room for: 0 is the background, 65535 ignored."""


def read_lines(path: Path) -> list[str]:
    """Lines of a UTF-8 text file, with or without a byte-order mark.

    Raises:
        InputError: the file is missing or no UTF-8 text.
    """
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is no UTF-8 text") from error


def class_names(root: Path, published: Sequence[str] = VOC_CLASSES) -> tuple[str, ...]:
    """Class names of a data set, without background.

    Args:
        root: folder of the data set.
        published: the class names if there is no `classes.txt`.

    Raises:
        InputError: `classes.txt` is empty, names a class twice or the background, or a class that is no valid file name.
    """
    path = root / "classes.txt"
    if not path.exists():
        return tuple(published)
    lines = {i: normal_name(line) for i, line in enumerate(read_lines(path), start=1) if line.strip()}
    names = tuple(lines.values())
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"{path} names {twice} twice")
    for i, name in lines.items():
        if reason := why_no_class(name):
            raise InputError(f"{path} line {i}: {reason}; the first line is the class that has 1")
    require_one_spelling((name, f"{path} line {i}") for i, name in lines.items())
    require_class_names(names, path)
    return names


def require_class_names(names: Sequence[str], path: Path) -> None:
    """Raises InputError if there are no names, more than 65,534, or one that is no valid file name."""
    if not names:
        raise InputError(f"{path} names no class")
    if odd := next((name for name in names if "/" in name or "\\" in name or not name.isprintable()), None):
        raise InputError(f"{path} names {odd!r}; files are named after classes, which cannot hold slashes")
    if len(names) > MOST_CLASSES:
        raise InputError(f"{path} names {len(names)} classes; masks have room for {MOST_CLASSES}")
