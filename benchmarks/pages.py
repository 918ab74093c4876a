"""Tables that a command writes into a page of docs/, between two comments."""

from pathlib import Path

from utils.errors import InputError
from utils.files import whole_file


def write_between(page: Path, start: str, end: str, text: str) -> None:
    """Replaces what stands between the first `start` and the next `end` in a page.

    Raises:
        InputError: the page has no `start`.
    """
    before, found, rest = page.read_text(encoding="utf-8").partition(start)
    if not found:
        raise InputError(f"{page} has no place for a table: {start} is missing")
    after = rest.partition(end)[2]
    with whole_file(page) as file:
        file.write(f"{before}{start}\n\n{text.strip()}\n\n{end}{after}".encode())
