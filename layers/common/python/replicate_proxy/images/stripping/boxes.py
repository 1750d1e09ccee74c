"""The boxes that an ISO base media file is made of: ISO/IEC 14496-12, section 4.2."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from replicate_proxy.images.stripping.errors import UnknownStructureError

if TYPE_CHECKING:
    from collections.abc import Iterator


type Range = tuple[int, int]
"""From one offset in the file up to another."""

_SIZE_FOLLOWS, _TO_THE_END = 1, 0
_FULL_BOX_BYTES = 4


@dataclass(frozen=True)
class Box:
    """Offsets in the file: of the box, of what follows its size and type, and of its end."""

    kind: bytes
    start: int
    body: int
    end: int

    def cursor(self, data: bytes) -> Cursor:
        return Cursor(data, self.body, self.end)

    @property
    def full_body(self) -> int:
        """Of a full box: what follows version and flags."""
        return self.body + _FULL_BOX_BYTES


def boxes(data: bytes, start: int, end: int) -> Iterator[Box]:
    """The boxes that fill this part of the file. Raises UnknownStructureError where they do not fill it."""
    while start < end:
        cursor = Cursor(data, start, end)
        size, kind = cursor.number(4), cursor.take(4)
        if size == _SIZE_FOLLOWS:
            size = cursor.number(8)
        elif size == _TO_THE_END:
            size = end - start
        if not cursor.at - start <= size <= end - start:
            raise UnknownStructureError
        yield Box(kind, start, cursor.at, start + size)
        start += size


class Cursor:
    """Reads one value after the other and no further than `end`: then it raises UnknownStructureError."""

    def __init__(self, data: bytes, at: int, end: int) -> None:
        self._data = data
        self.at = at
        self._end = end

    def take(self, size: int) -> bytes:
        start, self.at = self.at, self.at + size
        if self.at > self._end:
            raise UnknownStructureError
        return self._data[start : self.at]

    def number(self, size: int) -> int:
        """An unsigned number of that many bytes; of none it is 0."""
        return int.from_bytes(self.take(size))

    def numbers(self, count: int) -> tuple[int, ...]:
        """A table of 32-bit numbers."""
        return struct.unpack(f">{count}I", self.take(4 * count))
