"""Tables of image-level labels, as written by spreadsheets and other programs.

A table has a line for each image, `image,label,label,…`; or for each pair of image and label; or, with a header of class
names, a column of 0 and 1 for each class (one-hot). Columns are separated by commas, semicolons or tabs. An ambiguous table
is refused with the reason.
"""

import codecs
import csv
import io
import re
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import NamedTuple

from utils.errors import InputError

from .spelling import NOTHING, normal_name

DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs"}
ENCODINGS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
IMAGE_COLUMN = re.compile(
    r"(image|img|file|photo|picture)s?|(image|img|photo|picture)?(file)?(name|path)s?|(image|img|file)?ids?"
)
LABEL_COLUMN = re.compile(r"(label|class|categor|tag|object|target)(e?s|y|ies)?(name)?s?\d*|")
NUMBER = re.compile(r"[+-]?\d+([.,]\d+)?")
YES = ("1", "1.0", "true", "wahr", "yes", "x")
NO = {"1": "0", "1.0": "0.0", "true": "false", "wahr": "falsch", "yes": "no"}
"""The word for no that belongs to each word for yes; an empty cell also means no."""
SEPARATOR_LINE = re.compile(r"sep=([,;\t])\r?\n")
"""First line by which Excel declares the separator."""
SAMPLE = 200
"""How many lines are read to find the separator."""


class TableRow(NamedTuple):
    """One line: an image with labels."""

    line: int
    image: str
    labels: list[str]


class LabelTable(NamedTuple):
    """The content of a table."""

    rows: list[TableRow]
    one_label_a_row: bool  # an image with several labels has several rows
    classes: list[str]  # classes with a column of their own
    notes: list[str]  # how it was interpreted, if it differs from `image,label,label,…`


Cells = list[tuple[int, list[str]]]
"""Line numbers with the cells of each line."""


def read_label_table(path: Path, is_image: Callable[[str], bool], known: Collection[str]) -> LabelTable:
    """Reads a table of labels.

    Args:
        path: the file.
        is_image: whether a name is that of an image of the data set.
        known: classes of `classes.txt`; empty if there is none.

    Raises:
        InputError: the file is no table, or it is ambiguous.
    """
    text, encoding = read_text(path)
    delimiter = delimiter_of(path, text, is_image)
    rows = split_rows(path, text, delimiter)
    notes = ["UTF-16"] if encoding == "utf-16" else []
    notes += [f"columns between {DELIMITERS[delimiter]}"] if delimiter != "," else []
    header = [normal_name(cell) for cell in rows[0][1]] if rows else []
    column = image_column(header, is_image)
    first, second = (row[0].strip() for _, row in rows[:2]) if len(rows) > 1 else ("", "")
    if column is None and is_image(second) and not is_image(first):
        raise InputError(
            f"{path} line {rows[0][0]} names {first!r}, and there is no such image; if the line is a header, "
            "call the column of the images image"
        )
    under = None if column is None else with_header(path, rows[1:], header, column, known)
    table = under or listed(path, rows, 0, None, known)
    return table._replace(notes=[*notes, *table.notes])


def read_text(path: Path) -> tuple[str, str]:
    """The text of a file and its encoding: by its byte-order mark, else UTF-8.

    Raises:
        InputError: it cannot be read, or has another encoding.
    """
    try:
        data = path.read_bytes()
        encoding = next((name for mark, name in ENCODINGS.items() if data.startswith(mark)), "utf-8")
        if encoding == "utf-8" and b"\0" in data:
            raise InputError(
                f"{path} is no table of labels: it has zero bytes, as UTF-16 has without its mark; save it as UTF-8"
            )
        text = data.decode(encoding)
    except OSError as error:
        raise InputError(f"{path} is no table of labels: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path} is no table of labels: {error}; save it as UTF-8 (in Excel: CSV UTF-8), or as UTF-16 with its mark"
        ) from error
    return text, encoding


def split_rows(path: Path, text: str, delimiter: str) -> Cells:
    """Splits a text into the cells of its non-empty lines.

    Raises:
        InputError: a quote is not closed, or a cell is too long.
    """
    told = SEPARATOR_LINE.match(text)
    reader = csv.reader(io.StringIO(text[told.end() :] if told else text, newline=""), delimiter=delimiter, strict=True)
    try:
        return [(reader.line_num + bool(told), row) for row in reader if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise InputError(f"{path} is no table of labels: line {reader.line_num}: {error}") from error


def delimiter_of(path: Path, text: str, is_image: Callable[[str], bool]) -> str:
    """The separator of the columns: the one with which most lines name an image."""
    if told := SEPARATOR_LINE.match(text):
        return told[1]
    there = [delimiter for delimiter in DELIMITERS if delimiter in text]
    if len(there) < 2:
        return there[0] if there else ","
    start = "".join(text.splitlines(keepends=True)[:SAMPLE])

    def lines_with_an_image(delimiter: str) -> tuple[int, int]:
        try:
            rows = split_rows(path, start, delimiter)
        except InputError:
            return 0, 0
        column = image_column([normal_name(cell) for cell in rows[0][1]], is_image) if rows else None
        named = (row[column or 0].strip() for _, row in rows if len(row) > (column or 0))
        return sum(map(is_image, named)), column is not None

    return max(there, key=lines_with_an_image)


def image_column(header: Sequence[str], is_image: Callable[[str], bool]) -> int | None:
    """The column of images if the first line is a header; None if it is not."""
    keys = [re.sub(r"[\W_]", "", name.casefold()) for name in header]
    found = [i for i, key in enumerate(keys) if key and IMAGE_COLUMN.fullmatch(key)]
    if not found:
        return None
    # `id` and `name` are only used if no other column is called after images.
    best = min(found, key=lambda i: keys[i] in ("id", "ids", "name", "names"))
    others = [keys[i] for i in range(len(header)) if i != best]
    only_labels = any(others) and all(LABEL_COLUMN.fullmatch(key) for key in others)
    return None if is_image(header[best]) and not only_labels else best


def with_header(path: Path, rows: Cells, header: list[str], column: int, known: Collection[str]) -> LabelTable:
    """Reads the lines below a header.

    Raises:
        InputError: a column holds neither images nor labels, or is ambiguous.
    """
    names = {i: name for i, name in enumerate(header) if i != column}
    by_kind = {i: bool(LABEL_COLUMN.fullmatch(re.sub(r"[\W_]", "", name.casefold()))) for i, name in names.items()}
    classes = {i: name for i, name in names.items() if name}
    if column and not header[0] and any(row[0].strip() for _, row in rows):
        raise InputError(f"{path}: the first column has no name in line 1: remove it (in pandas: index=False), or name it")
    flags = {cell for _, row in rows for i in classes if i < len(row) for cell in [row[i].strip().casefold()]}
    are_flags = flags <= {*YES, *NO.values(), ""} and bool(flags - {""})
    if not all(by_kind.values()) or (len(classes) > 1 and are_flags):
        odd = [name for i, name in names.items() if not by_kind[i]]
        if len(odd) < len(classes) and odd:
            raise InputError(f"{path} line 1 has columns of labels and also {', '.join(map(repr, odd))}: remove the others")
        return one_hot(path, rows, column, classes)
    return listed(path, rows, column, len(classes), known)


def one_hot(path: Path, rows: Cells, column: int, classes: dict[int, str]) -> LabelTable:
    """Reads a one-hot table, with yes or no for each class.

    Raises:
        InputError: a cell is neither, or an empty cell is ambiguous.
    """
    if len({*classes.values()}) < len(classes):
        twice = next(name for name in classes.values() if [*classes.values()].count(name) > 1)
        raise InputError(f"{path} line 1 names {twice!r} twice")
    said: dict[str, int] = {}
    table = []
    for line, row in rows:
        unnamed = [i for i, cell in enumerate(row) if cell.strip() and i != column and i not in classes]
        if unnamed:
            raise InputError(
                f"{path} line {line}: column {unnamed[0] + 1} holds {row[unnamed[0]].strip()!r} and has no name in line 1: "
                "name or remove it"
            )
        labels = []
        for i, name in classes.items():
            if i >= len(row):
                raise InputError(f"{path} line {line} has {len(row)} columns, line 1 names {max(*classes, column) + 1}")
            cell = row[i].strip().casefold()
            if cell and cell not in YES and cell not in NO.values():
                raise InputError(
                    f"{path} line {line}: {row[i].strip()!r} in column {name!r} is neither yes nor no: a column is called "
                    "label, or it is called after a class and holds 0 and 1"
                )
            said.setdefault(cell, line)
            if cell in YES:
                labels.append(name)
        table.append(TableRow(line, row[column].strip() if column < len(row) else "", labels))
    require_certain_flags(path, said)
    return LabelTable(table, False, [*classes.values()], [f"a column of yes and no for each of {len(classes)} classes"])


def require_certain_flags(path: Path, said: dict[str, int]) -> None:
    """Raises InputError if cells use several words for yes or no, such as 0 and empty: an empty cell may be a mistake.

    Args:
        path: the table.
        said: each word that occurs, with the line of its first occurrence.
    """
    yes, no = ([word for word in said if (word in YES) == wanted] for wanted in (True, False))
    if len(yes) == 1 and (no == [""] or len(no) == 0 or no == [NO.get(yes[0])]):
        return
    if not yes:
        raise InputError(f"{path} says of no image that anything is in it")
    odd = "" if "" in no else (no or yes)[-1]
    others = ", ".join(word or "nothing" for word in (*yes, *no) if word != odd)
    cell = "an empty cell" if not odd else repr(odd)
    raise InputError(f"{path} line {said[odd]} has {cell} where other lines have {others}: write 1 and 0 everywhere")


def listed(path: Path, rows: Cells, column: int, label_columns: int | None, known: Collection[str]) -> LabelTable:
    """Reads a table whose cells are labels.

    Args:
        path: the table.
        rows: without the header.
        column: index of the column of images.
        label_columns: number of label columns in the header; None without a header.
        known: see `read_label_table`.

    Raises:
        InputError: a label is a number, means an empty cell (such as "nan"), or may be several labels.
    """
    table: list[TableRow] = []
    separators: dict[str, int] = {}
    read: dict[str, tuple[list[str], str]] = {}  # cells repeat: a large table has few labels
    for line, row in rows:
        labels: list[str] = []
        for cell in (cell for i, cell in enumerate(row) if i != column and cell.strip()):
            if cell not in read:
                read[cell] = labels_of_cell(cell, known, f"{path} line {line}")
            parts, separator = read[cell]
            labels += parts
            if separator:
                separators.setdefault(separator, line)
        table.append(TableRow(line, row[column].strip() if column < len(row) else "", labels))
    twice = next((row for row in table if len({*row.labels}) < len(row.labels)), None)
    if label_columns is None and twice and {label for row in table for label in row.labels} <= {"0", "1"}:
        raise InputError(
            f"{path} line {twice.line} has 0 or 1 more than once: if they say whether a class is there, name the classes "
            "in a first line image,class,class,…"
        )
    require_names(path, table, known)
    fewest, most = min((len(row.labels) for row in table), default=0), max((len(row.labels) for row in table), default=0)
    one = most == 1 and (label_columns == 1 or (label_columns is None and fewest == 1))
    notes = [
        f"cells with several labels, as in line {line}, split at {separator!r}" for separator, line in separators.items()
    ]
    return LabelTable(table, one, [], notes)


def require_names(path: Path, rows: Sequence[TableRow], known: Collection[str]) -> None:
    """Raises InputError if labels are numbers or words for yes and no, unless they are `known` classes."""
    lines = {label: row.line for row in reversed(rows) for label in row.labels}
    said: dict[str, int] = {}
    for label, line in lines.items():
        if (name := normal_name(label)) not in known:
            said[name] = min(line, said.get(name, line))
    words = {name.casefold() for name in said}
    if words and words <= {*YES, *NO.values(), "y", "n"}:
        raise InputError(
            f"{path} says {' and '.join(sorted(words))} where labels are expected: if they say whether a class is there, "
            "name the classes in a first line image,class,class,…; if they are names, list them in classes.txt"
        )
    number = next((name for name in reversed(said) if NUMBER.fullmatch(name)), None)
    if number is not None:
        raise InputError(
            f"{path} line {said[number]} has the label {number!r}, a number: write names, or list the numbers in classes.txt"
        )


def labels_of_cell(cell: str, known: Collection[str], place: str) -> tuple[list[str], str]:
    """The labels in a cell, and their separator; empty for a single label.

    Raises:
        InputError: the cell holds no label, or is ambiguous.
    """
    name = normal_name(cell)
    if name in known:
        return [cell], ""
    for separator in (";", "|", ",", "/"):
        parts = [part for part in cell.split(separator) if part.strip()]
        certain = separator in ";|" or all(normal_name(part) in known for part in parts)
        if separator in cell and certain:
            return [label for part in parts for label in labels_of_cell(part, known, place)[0]], separator
    if "," in name and not known:
        raise InputError(
            f"{place} has {name!r} in one cell: give each label a cell of its own; if this is one, list it in classes.txt"
        )
    if name.casefold() in NOTHING:
        raise InputError(f"{place} has the label {name!r}: leave the cell empty where an image has none")
    return [cell], ""
