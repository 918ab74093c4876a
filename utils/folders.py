"""Listing folders, following links."""

import os
from collections.abc import Collection, Iterator
from pathlib import Path

ARCHIVE_LEFTOVERS = "__MACOSX"
"""Folder of metadata that macOS adds to archives."""


def is_hidden(name: str) -> bool:
    """Whether a file or folder is hidden: `.cache`, or `._a.jpg`, which macOS writes beside `a.jpg`."""
    return name.startswith(".")


def names_in(folder: Path) -> set[str]:
    """Names of all files in a folder; none if there is no such folder."""
    try:
        with os.scandir(folder) as entries:
            return {entry.name for entry in entries}
    except FileNotFoundError:
        return set()


def visible_files(root: Path, skipped: Collection[str] = ()) -> Iterator[Path]:
    """All files in a folder and its sub-folders that are not hidden, sorted; a folder with several links counts once.

    Args:
        root: the folder.
        skipped: names of direct sub-folders to leave out.

    Raises:
        OSError: a folder cannot be read.
    """
    seen = {os.path.realpath(root)}

    def refuse(error: OSError) -> None:
        raise error

    for place, folders, files in os.walk(root, onerror=refuse, followlinks=True):
        here = Path(place)
        kept = []
        for name in sorted(folders, key=lambda name: ((here / name).is_symlink(), name)):
            left_out = is_hidden(name) or name == ARCHIVE_LEFTOVERS or (here == root and name in skipped)
            target = os.path.realpath(here / name)
            if not left_out and target not in seen:
                seen.add(target)
                kept.append(name)
        folders[:] = kept
        yield from (here / name for name in sorted(files) if not is_hidden(name))
