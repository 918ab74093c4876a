"""Images looked at before a long run, so that a bad one is found now and not after six hours."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

from utils.errors import InputError
from utils.files import whole_file
from utils.log import progress
from utils.machine.cores import available_cores

from .labels import cache_path, read_cache, write_cache
from .pixels import open_with_depth

MOST_NAMED = 20


def check_images(
    folder: Path, paths: Sequence[Path], when: str, white: float = 0.0, say: Callable[[str], None] = lambda line: None
) -> int:
    """Decodes images, in parallel; those that were good and have not changed since are passed over.

    Args:
        folder: what the table of good images is kept for.
        paths: the images.
        when: "first" as said; "always" decodes all; "never" none.
        white: value that is white in images of more than 8 bits; 0: told from each (`utils.images.to_rgb`).
        say: is told how images of more than 8 bits are read.

    Returns:
        How many were decoded.

    Raises:
        InputError: some are missing or no readable images; the first twenty are named, and a file lists all of more. Or
            images of more than 8 bits would be brought to 8 in different ways.
    """
    if when == "never":
        return 0
    table = cache_path(folder, f"looks-{white:g}" if white else "looks")
    good = read_cache(table) if when == "first" else {}
    states = {path: state_of(path) for path in paths}
    unknown = [path for path, state in states.items() if state is None or good.get(str(path), (None,))[0] != state]
    with ThreadPoolExecutor(available_cores()) as pool:
        try:
            found = pool.map(partial(look_at, white=white), unknown)
            looks = dict(zip(unknown, progress(found, "looking at images", len(unknown)), strict=True))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    good |= {str(path): (states[path], look.depth) for path, look in looks.items() if not look.problem}
    if unknown:
        write_cache(table, good)
    refuse_bad([look.problem for look in looks.values() if look.problem], len(paths), table)
    require_one_depth({path: good[str(path)][1] for path in paths}, say)
    return len(unknown)


def refuse_bad(bad: Sequence[str], count: int, table: Path) -> None:
    """Raises InputError where images, or masks, are bad.

    Args:
        bad: what is wrong with each.
        count: of all.
        table: beside which a list of very many goes.
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
        raise InputError(f"{len(bad)} of {count} images cannot be used: {named}")


def require_one_depth(depths: Mapping[Path, Sequence], say: Callable[[str], None]) -> None:
    """Sees to it that images of more than 8 bits are brought to 8 in one way, and says which.

    Args:
        depths: of each image what `Look.depth` says.
        say: is told.

    Raises:
        InputError: what is white in one of them is not in another.
    """
    examples: dict[tuple[str, str], Path] = {}
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


def state_of(path: Path) -> list[int] | None:
    """Size and time of a file; None where it is missing."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return [stat.st_size, stat.st_mtime_ns]


class Look(NamedTuple):
    """What a look at an image found."""

    problem: str = ""  # why it cannot be used
    depth: Sequence = ()  # of more than 8 bits: integers or floats, and what is white


def look_at(path: Path, white: float) -> Look:
    """Decodes an image."""
    try:
        _, depth = open_with_depth(path, white)
    except InputError as error:
        return Look(str(error))
    return Look(depth=(depth.kind, f"{depth.white:g}") if depth else ())
