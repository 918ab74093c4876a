"""Spelling of class names: which spellings are the same name, and which names are no classes."""

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
"""Names in lists of classes that mean pixels without a class, with the reason why they are refused."""
NOTHING = ("nan", "none", "null", "n/a", "na", "<na>", "?", "-")
"""What programs write for an empty cell."""


def normal_name(text: str) -> str:
    """Normalises a name: no surrounding or repeated blanks, and Unicode's NFC for accents (macOS writes NFD)."""
    return unicodedata.normalize("NFC", " ".join(text.split()))


def folded(name: str) -> str:
    """A key that is equal for spellings people take for the same name: `Potted_Plant` and `potted plant`."""
    return " ".join(re.split(r"[\s_]+", unicodedata.normalize("NFKC", name).casefold()))


def why_no_class(name: str) -> str:
    """Why a name cannot be a class; empty if it can."""
    meaning = NO_CLASSES.get(name.casefold().strip("_ "), "")
    return f"{name!r} is no class: {meaning}" if meaning else ""


def require_one_spelling(places: Iterable[tuple[str, str]]) -> None:
    """Checks that no class is spelled in two ways.

    Args:
        places: names, each with the place where it was first found.

    Raises:
        InputError: two names differ only in capitals, blanks or underscores.
    """
    seen: dict[str, tuple[str, str]] = {}
    for name, place in places:
        other, before = seen.setdefault(folded(name), (name, place))
        if other != name:
            raise InputError(f"{place} says {name!r} and {before} {other!r}: spell a class in one way")
