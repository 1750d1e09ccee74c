"""Read the boxes of an ISO base media file (ISO/IEC 14496-12, section 4.2)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from replicate_proxy.images.containers import UnknownStructureError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from replicate_proxy.images.containers import Source


type ByteRange = tuple[int, int]
"""Start and end offset in the file."""

# Special values of a box's size: 64 bits of size follow the type; the box extends to the end.
_LARGE_SIZE, _SIZE_TO_END = 1, 0
_VERSION_AND_FLAGS_BYTES = 4


@dataclass(frozen=True)
class Box:
    """A box's type, and offsets in the file: of the box, of the body after size and type, and of the end."""

    kind: bytes
    start: int
    body: int
    end: int

    def open(self, data: Source) -> Cursor:
        """Return a cursor at the start of the body."""
        return Cursor(data, self.body, self.end)

    @property
    def full_box_body(self) -> int:
        """The offset after version and flags, if this is a full box."""
        return self.body + _VERSION_AND_FLAGS_BYTES


def read_boxes(data: Source, start: int, end: int) -> Iterator[Box]:
    """Yield the boxes of this part of the file. Raises UnknownStructureError unless they fill it."""
    while start < end:
        cursor = Cursor(data, start, end)
        size, kind = cursor.read_number(4), cursor.read(4)
        if size == _LARGE_SIZE:
            size = cursor.read_number(8)
        elif size == _SIZE_TO_END:
            size = end - start
        if not cursor.position - start <= size <= end - start:
            raise UnknownStructureError
        yield Box(kind, start, cursor.position, start + size)
        start += size


class Cursor:
    """Reads one value after another. Reading past `end` raises UnknownStructureError."""

    def __init__(self, data: Source, position: int, end: int) -> None:
        self._data = data
        self.position = position
        self._end = end

    def read(self, size: int) -> bytes:
        start, self.position = self.position, self.position + size
        if self.position > self._end:
            raise UnknownStructureError
        return self._data[start : self.position]

    def read_number(self, size: int) -> int:
        """Read an unsigned number of that many bytes; one of no bytes is 0."""
        return int.from_bytes(self.read(size))

    def read_numbers(self, count: int) -> tuple[int, ...]:
        """Read a table of 32-bit numbers."""
        return struct.unpack(f">{count}I", self.read(4 * count))
