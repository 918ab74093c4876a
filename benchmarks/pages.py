"""Tables that a command writes into a page of docs/, between two comments."""

from collections.abc import Mapping
from pathlib import Path

from utils.errors import InputError
from utils.files import whole_file


def write_between(page: Path, start: str, end: str, text: str) -> None:
    """Replaces what stands between the first `start` and the next `end` in a page."""
    before, _, rest = page.read_text(encoding="utf-8").partition(start)
    after = rest.partition(end)[2]
    with whole_file(page) as file:
        file.write(f"{before}{start}\n\n{text.strip()}\n\n{end}{after}".encode())


def write_tables(page: Path, tables: Mapping[str, str], end: str) -> None:
    """Replaces each table of which a page has the start.

    Args:
        page: of docs/.
        tables: from the comment before a table to its text.
        end: the comment after each.

    Raises:
        InputError: the page has none of them.
    """
    found = [start for start in tables if start in page.read_text(encoding="utf-8")]
    if not found:
        raise InputError(f"{page} has no place for a table: {' or '.join(tables)} is missing")
    for start in found:
        write_between(page, start, end, tables[start])
