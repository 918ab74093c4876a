"""Images looked at before a long run, so that a bad one is found now and not after six hours."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from utils.errors import InputError
from utils.files import whole_file
from utils.log import progress
from utils.machine.cores import available_cores

from .labels import cache_path, read_cache, write_cache
from .pixels import open_rgb

MOST_NAMED = 20


def check_images(folder: Path, paths: Sequence[Path], when: str) -> int:
    """Decodes images, in parallel; those that were good and have not changed since are passed over.

    Args:
        folder: what the table of good images is kept for.
        paths: the images.
        when: "first" as said; "always" decodes all; "never" none.

    Returns:
        How many were decoded.

    Raises:
        InputError: some are missing or no readable images; the first twenty are named, and a file lists all of more.
    """
    if when == "never":
        return 0
    table = cache_path(folder, "images")
    good = read_cache(table) if when == "first" else {}
    states = {path: state_of(path) for path in paths}
    unknown = [path for path, state in states.items() if state is None or good.get(str(path), (None,))[0] != state]
    with ThreadPoolExecutor(available_cores()) as pool:
        try:
            problems = dict(
                zip(unknown, progress(pool.map(problem_of, unknown), "looking at images", len(unknown)), strict=True)
            )
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    good |= {str(path): (states[path], []) for path in unknown if problems[path] is None}
    if unknown:
        write_cache(table, good)
    bad = [problem for problem in problems.values() if problem is not None]
    if len(bad) == 1:
        raise InputError(bad[0])
    if bad:
        named = "; ".join(bad[:MOST_NAMED])
        if len(bad) > MOST_NAMED:
            listing = table.with_suffix(".bad.txt")
            with whole_file(listing) as file:
                file.write("".join(f"{problem}\n" for problem in bad).encode())
            named += f"; and {len(bad) - MOST_NAMED} more, all listed in {listing}"
        raise InputError(f"{len(bad)} of {len(paths)} images cannot be used: {named}")
    return len(unknown)


def state_of(path: Path) -> list[int] | None:
    """Size and time of a file; None where it is missing."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return [stat.st_size, stat.st_mtime_ns]


def problem_of(path: Path) -> str | None:
    """Why an image cannot be used; None for a good one."""
    try:
        open_rgb(path)
    except InputError as error:
        return str(error)
    return None
