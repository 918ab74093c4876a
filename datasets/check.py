"""Checks images and masks before a run, so that a bad file is found at the start and not after hours."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from utils.errors import InputError
from utils.files import state_of, whole_file
from utils.images import open_with_depth
from utils.machine.parallel import in_threads
from utils.scoring.metrics import label_type

from .labels.image_labels import cache_path, read_cache, write_cache
from .layouts.base import Layout, read_truth

MOST_NAMED = 20
SAVED_EVERY = 20_000
"""Files after which the cache is written, so that a check that is stopped goes on there."""


class Checked(NamedTuple):
    """Result of checking images."""

    decoded: int = 0  # number of images that were decoded
    white: float = 0.0  # the white level of those of more than 8 bits; 0 if there are none, or integers and floats


def check_images(
    folder: Path,
    paths: Sequence[Path],
    when: str,
    white: float = 0.0,
    say: Callable[[str], None] = lambda line: None,
    like: Sequence[Path] = (),
) -> Checked:
    """Decodes images in parallel to check them.

    Args:
        folder: folder that the cache of good images belongs to.
        paths: the images.
        when: "first" skips images that were good before and have not changed; "always" decodes all; "never" none.
        white: white level of images of more than 8 bits; 0: found for each image (`utils.images.to_rgb`).
        say: is called with a line for the log if there are images of more than 8 bits.
        like: images that were checked before, whose white level must be the same.

    Returns:
        What was found; nothing if `when` is "never".

    Raises:
        InputError: images are missing or unreadable; the message names up to twenty, and a file lists them if there are
            more. Or images of more than 8 bits have different white levels.
    """
    if when == "never":
        return Checked()
    table = cache_path(folder, f"looks-{white:g}" if white else "looks")
    good = read_cache(table)
    states = {name: state_of(name) for name in map(str, paths)}
    known = good if when == "first" else {}
    unknown = [name for name, state in states.items() if state is None or known.get(name, (None,))[0] != state]
    found = in_threads(partial(look_at, white=white), [Path(name) for name in unknown], "looking at images")
    bad = []
    with kept_in(table, good) as keep:
        for name, look in zip(unknown, found, strict=True):
            good.pop(name, None)
            if look.problem:
                bad.append(look.problem)
            else:
                keep(name, (states[name], look.depth))
    refuse_bad(bad, f"{len(paths)} images", table)
    before = {name: good[name][1] for name in map(str, like) if name in good}
    levels = require_one_depth(before | {name: good[name][1] for name in states}, say)
    return Checked(len(unknown), levels[0] if len(levels) == 1 else 0.0)


def check_masks(
    layout: Layout, ids: Sequence[str], labels: np.ndarray, when: str, say: Callable[[str], None] = lambda line: None
) -> int:
    """Reads masks in parallel to check them.

    Args:
        layout: the data set.
        ids: n images of it, all with masks.
        labels: (n, C) bool.
        when: "first" skips masks that were good before if mask and image have not changed; else see `check_images`.
        say: is called with a line for the log if masks hold no class although their images have labels.

    Returns:
        The number of masks read.

    Raises:
        InputError: masks are damaged, differ from their images in size, or hold values that are no classes; or no mask
            holds a class.
    """
    if when == "never":
        return 0
    table = cache_path(layout.mask_folder, "masks")
    good = read_cache(table) if when == "first" else {}
    paths = {image_id: layout.mask_path(image_id) for image_id in ids}
    # The cache holds for each mask its file's size and time, those of its image, and the values in the mask.
    states = {i: (state_of(path), state_of(layout.image_path(i))) for i, path in paths.items()}
    ignored = int(np.iinfo(label_type(len(layout.classes))).max)
    admitted = {*range(len(layout.classes) + 1), ignored}

    def is_good(image_id: str) -> bool:
        mask, image = states[image_id]
        state, values = good.get(str(paths[image_id]), (None, ()))
        return state == mask and values[:2] == image and {*values[2:]} <= admitted

    unknown = [image_id for image_id in ids if not is_good(image_id)]
    found = in_threads(partial(values_of, layout), unknown, "looking at masks")
    bad = []
    with kept_in(table, good) as keep:
        for image_id, held in zip(unknown, found, strict=True):
            mask, image = states[image_id]
            if isinstance(held, str):
                bad.append(held)
            elif mask and image:
                keep(str(paths[image_id]), (mask, [*image, *held]))
    refuse_bad(bad, f"{len(ids)} masks", table)
    shown = [{*good[str(paths[image_id])][1][2:]} - {0, ignored} for image_id in ids]
    require_classes([paths[i] for i, held in zip(ids, shown, strict=True) if not held], labels, shown, layout.classes, say)
    return len(unknown)


def require_classes(
    empty: Sequence[Path], labels: np.ndarray, shown: Sequence[set[int]], classes: Sequence[str], say: Callable[[str], None]
) -> None:
    """Checks that at least one mask holds a class.

    Args:
        empty: masks without a class.
        labels: (n, C) bool.
        shown: classes in the mask of each of the n images, from 1.
        classes: C names.
        say: see `check_masks`.

    Raises:
        InputError: images have labels, but no mask holds a class.
    """
    lost = sum(bool(row.any()) and not held for row, held in zip(labels, shown, strict=True))
    if lost and not any(shown):
        raise InputError(
            f"{empty[0]} holds no class, nor does any other of {len(shown)} masks: 0 is the background, 255 is not scored, "
            f"the classes are 1 ({classes[0]}) to {len(classes)}. Where 255 means an object, write the number of its class"
        )
    if lost:
        say(
            f"{lost} of {len(shown)} masks hold no class, only 0 or 255, though their images have labels, such as {empty[0]}"
        )


def values_of(layout: Layout, image_id: str) -> list[int] | str:
    """The values in an image's mask, ascending; or an error message."""
    try:
        return np.unique(read_truth(layout, image_id)).tolist()
    except InputError as error:
        return str(error)


@contextlib.contextmanager
def kept_in(table: Path, content: dict[str, Any]) -> Iterator[Callable[[str, Any], None]]:
    """Yields a function that adds an entry to a cache, whose file is written now and then, and at the end or an error."""
    added = 0

    def keep(name: str, entry: Any) -> None:
        nonlocal added
        content[name] = entry
        added += 1
        if added % SAVED_EVERY == 0:
            write_cache(table, content)

    try:
        yield keep
    finally:
        if added:
            write_cache(table, content)


def refuse_bad(bad: Sequence[str], all_of_them: str, table: Path) -> None:
    """Raises InputError if there are bad images or masks.

    Args:
        bad: an error message for each.
        all_of_them: number and kind of all files, such as "30 images".
        table: the cache; a long list of bad files is written beside it.
    """
    if len(bad) == 1:
        raise InputError(bad[0])
    if bad:
        named = "; ".join(bad[:MOST_NAMED])
        if len(bad) > MOST_NAMED:
            listing = table.with_suffix(".bad.txt")
            with whole_file(listing) as file:
                file.write("".join(f"{problem}\n" for problem in bad).encode())
            named += f"; and {len(bad) - MOST_NAMED} more, all listed in {listing}"
        raise InputError(f"{len(bad)} of {all_of_them} cannot be used: {named}")


def require_one_depth(depths: Mapping[str, Sequence], say: Callable[[str], None]) -> list[float]:
    """Checks that all images of more than 8 bits have the same white level.

    Args:
        depths: `Look.depth` of each image.
        say: is called with a line about the white level, if there are such images.

    Returns:
        The white levels: one, of integers or floats; two if there are both; or none.

    Raises:
        InputError: white levels differ between images.
    """
    examples: dict[tuple[str, str], str] = {}
    deep = [(path, tuple(map(str, depth))) for path, depth in depths.items() if depth]
    for path, (kind, level) in deep:
        examples.setdefault((kind, level), path)
    for kind in ("integers", "floats"):
        levels = {level: path for (k, level), path in examples.items() if k == kind}
        if len(levels) > 1:
            seen = ", ".join(f"{path} up to {level}" for level, path in levels.items())
            raise InputError(f"images have values of different size: {seen}; say with --white-level which is white in all")
    if deep:
        found = " and ".join(f"{level} in {kind}" for kind, level in examples)
        say(f"{len(deep)} images have more than 8 bits: white is {found} (--white-level)")
    return [float(level) for _, level in examples]


class Look(NamedTuple):
    """Result of checking an image."""

    problem: str = ""  # why it cannot be used; empty if it can
    depth: Sequence = ()  # for more than 8 bits: integers or floats, and the white level


def look_at(path: Path, white: float) -> Look:
    """Decodes an image to check it."""
    try:
        _, depth = open_with_depth(path, white)
    except InputError as error:
        return Look(str(error))
    return Look(depth=(depth.kind, f"{depth.white:g}") if depth else ())
