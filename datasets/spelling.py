"""Names of classes as people and programs spell them: what is surely one name, and what is no class at all."""

import re
import unicodedata
from collections.abc import Iterable

from utils.errors import InputError

NO_CLASSES = {
    "background": "masks have 0 for it, and an image without anything has no label",
    "bg": "masks have 0 for it, and an image without anything has no label",
    "ignore": "masks have 255 for it",
    "void": "masks have 255 for it",
    "unlabeled": "masks have 255 for it",
    "unlabelled": "masks have 255 for it",
}
"""What stands in lists of classes for pixels that belong to none."""
NOTHING = ("nan", "none", "null", "n/a", "na", "<na>", "?", "-")
"""What programs write into a cell that is empty."""


def normal_name(text: str) -> str:
    """A name with single blanks, none around it, and its accents in one form (Unicode's NFC; macOS writes NFD)."""
    return unicodedata.normalize("NFC", " ".join(text.split()))


def folded(name: str) -> str:
    """What two names share that people take for one: `Potted_Plant` and `potted plant`."""
    return " ".join(re.split(r"[\s_]+", unicodedata.normalize("NFKC", name).casefold()))


def why_no_class(name: str) -> str:
    """Why a name cannot be a class's; empty for one that can."""
    meaning = NO_CLASSES.get(name.casefold().strip("_ "), "")
    return f"{name!r} is no class: {meaning}" if meaning else ""


def require_one_spelling(places: Iterable[tuple[str, str]]) -> None:
    """Sees to it that no class goes by two names.

    Args:
        places: names, each with the place where it was first found.

    Raises:
        InputError: two names differ in no more than capitals, blanks or underscores.
    """
    seen: dict[str, tuple[str, str]] = {}
    for name, place in places:
        other, before = seen.setdefault(folded(name), (name, place))
        if other != name:
            raise InputError(f"{place} says {name!r} and {before} {other!r}: spell a class in one way")
