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


def class_names(root: Path) -> tuple[str, ...]:
    """Classes of a data set in VOC layout, without background: those of its `classes.txt`, else VOC's 20.

    Raises:
        InputError: `classes.txt` is empty or names a class twice.
    """
    path = root / "classes.txt"
    if not path.exists():
        return VOC_CLASSES
    names = tuple(line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip())
    if not names:
        raise InputError(f"{path} names no class")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"{path} names {twice} twice")
    if len(names) > 254:
        raise InputError(f"{path} names {len(names)} classes; masks have room for 254")
    return names
