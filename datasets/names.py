"""Names and paths of many images in two arrays, which worker processes share.

With a list, each worker would end up with a copy of its own: reading a Python object changes its reference count, and so
copies its memory page.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import overload

import numpy as np


class Names(Sequence[str]):
    """n texts, such as ids of images; as fast to index as a list."""

    def __init__(self, texts: Sequence[str]):
        parts = [text.encode("utf-8", "surrogateescape") for text in texts]
        self.bytes = np.frombuffer(b"".join(parts), np.uint8)
        self.ends = np.cumsum([0, *map(len, parts)])

    def __len__(self) -> int:
        return len(self.ends) - 1

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        start, end = self.ends[index % len(self)], self.ends[index % len(self) + 1]
        return self.bytes[start:end].tobytes().decode("utf-8", "surrogateescape")

    def __iter__(self) -> Iterator[str]:
        return (self[i] for i in range(len(self)))


class FileNames(Sequence[Path]):
    """n paths of files; see `Names`."""

    def __init__(self, paths: Sequence[Path]):
        self.names = Names([str(path) for path in paths])

    def __len__(self) -> int:
        return len(self.names)

    @overload
    def __getitem__(self, index: int) -> Path: ...
    @overload
    def __getitem__(self, index: slice) -> list[Path]: ...
    def __getitem__(self, index: int | slice) -> Path | list[Path]:
        return [Path(name) for name in self.names[index]] if isinstance(index, slice) else Path(self.names[index])
