"""Names of the classes of a data set."""

from pathlib import Path

from utils.errors import InputError

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


def read_lines(path: Path) -> list[str]:
    """Lines of a UTF-8 text file, with or without a byte-order mark.

    Raises:
        InputError: the file is missing or no such text.
    """
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is no UTF-8 text") from error


def class_names(root: Path) -> tuple[str, ...]:
    """Classes of a data set in VOC layout, without background: those of its `classes.txt`, else VOC's 20.

    Raises:
        InputError: `classes.txt` is empty or names a class twice.
    """
    path = root / "classes.txt"
    if not path.exists():
        return VOC_CLASSES
    names = tuple(line.strip() for line in read_lines(path) if line.strip())
    if not names:
        raise InputError(f"{path} names no class")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"{path} names {twice} twice")
    if len(names) > 254:
        raise InputError(f"{path} names {len(names)} classes; masks have room for 254")
    return names
