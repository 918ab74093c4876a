"""Reads the parts of MATLAB 5 files that SBD's annotations use; SciPy's reader can access invalid memory on damaged files.

The format: https://www.mathworks.com/help/pdf_doc/matlab/matfile_format.pdf
"""

import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
"""NumPy types of stored values, by MATLAB's data type."""
CLASSES = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8"}
"""NumPy types of arrays, by MATLAB's array class."""
MATRIX, COMPRESSED, STRUCT = 14, 15, 2
MOST_BYTES = 1 << 28


class Matrix(NamedTuple):
    """An array or structure whose content is not decoded yet."""

    name: str
    kind: int
    shape: tuple[int, ...]
    parts: list[tuple[int, bytes]]


def struct_field(data: bytes, variable: str, field: str) -> np.ndarray:
    """A field of a 1 x 1 structure in a file.

    Args:
        data: bytes of the file.
        variable: name of the structure.
        field: name of the field.

    Raises:
        Exception: of nearly any kind, if the file is damaged or holds something else.
    """
    order = {b"IM": "<", b"MI": ">"}[data[126:128]]
    for kind, content in elements(data[128:], order):
        if kind == COMPRESSED:
            stream = zlib.decompressobj()
            content = stream.decompress(content, MOST_BYTES)
            if not stream.eof:
                raise ValueError("it breaks off")
            ((kind, content),) = elements(content, order)
        if kind == MATRIX and (found := matrix(content, order)).name == variable:
            return numbers(fields(found, order)[field], order)
    raise KeyError(variable)


def elements(data: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    """Types and contents of consecutive data elements; `order` is the byte order, < or >."""
    at = 0
    while at < len(data):
        (word,) = struct.unpack_from(f"{order}I", data, at)
        if word >> 16:  # small element: type, size and up to four bytes of content in eight bytes
            kind, size, start, at = word & 0xFFFF, word >> 16, at + 4, at + 8
            if size > 4:
                raise ValueError("a small element is too large")
        else:
            (size,) = struct.unpack_from(f"{order}I", data, at + 4)
            kind, start = word, at + 8
            at = start + size + (-size % 8 if word != COMPRESSED else 0)
        if start + size > len(data):
            raise ValueError("it breaks off")
        yield kind, data[start : start + size]


def matrix(content: bytes, order: str) -> Matrix:
    """Decodes the header of an array or structure."""
    (_, flags), (_, shape), (_, name), *parts = elements(content, order)
    sides = np.frombuffer(shape, f"{order}i4").tolist()
    return Matrix(name.decode("latin1"), struct.unpack_from(f"{order}I", flags)[0] & 0xFF, tuple(sides), parts)


def fields(found: Matrix, order: str) -> dict[str, Matrix]:
    """The fields of a 1 x 1 structure, without empty ones."""
    if found.kind != STRUCT or found.shape != (1, 1):
        raise ValueError(f"{found.name} is no structure")
    (_, length), (_, names), *values = found.parts
    (step,) = struct.unpack_from(f"{order}i", length)
    keys = [names[i : i + step].split(b"\0")[0].decode("latin1") for i in range(0, len(names), step)]
    return {key: matrix(value, order) for key, (_, value) in zip(keys, values, strict=True) if value}


def numbers(found: Matrix, order: str) -> np.ndarray:
    """The values of an array of real numbers."""
    ((kind, content),) = found.parts
    values = np.frombuffer(content, order + NUMBERS[kind])
    return values.astype(CLASSES[found.kind]).reshape(found.shape, order="F")
