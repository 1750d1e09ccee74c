"""Read the lines of an input file by ranges of bytes, so that memory does not depend on its size."""

from __future__ import annotations

from codecs import BOM_UTF8
from dataclasses import dataclass
from typing import TYPE_CHECKING

from replicate_proxy.batches.model import MAX_LINE_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable

_RANGE_BYTES = 2 * MAX_LINE_BYTES

type ReadRange = "Callable[[int, int], bytes]"
"""Returns the bytes from a position on, at most so many; fewer only at the end of the file."""


@dataclass(frozen=True, slots=True)
class RawLine:
    """A line without its end; None if it is too long. `end` is the position after it."""

    text: bytes | None
    end: int


class InputFile:
    """A file of lines. The last one need not end with a newline, the first one may have a byte order mark."""

    def __init__(self, read_range: ReadRange, size_bytes: int, *, range_bytes: int = _RANGE_BYTES) -> None:
        self._read_range = read_range
        self._size_bytes = size_bytes
        self._range_bytes = range_bytes

    def read_lines(self, position: int, limit: int) -> list[RawLine]:
        """Return the next lines: at most `limit`, and at most those of one range; none at the end."""
        if position >= self._size_bytes:
            return []
        content = self._read_range(position, self._range_bytes)
        lines: list[RawLine] = []
        start = 0
        while start < len(content) and len(lines) < limit:
            end = content.find(b"\n", start)
            if end < 0:
                if position + len(content) < self._size_bytes:
                    break
                end = len(content)
            text = content[start:end].removesuffix(b"\r")
            if position + start == 0:
                text = text.removeprefix(BOM_UTF8)
            start = min(end + 1, len(content))
            lines.append(RawLine(text if len(text) <= MAX_LINE_BYTES else None, position + start))
        return lines or [self._skip_line(position + len(content))]

    def _skip_line(self, position: int) -> RawLine:
        """Return a line that does not end within one range, whose size is more than a line may have."""
        while position < self._size_bytes:
            content = self._read_range(position, self._range_bytes)
            end = content.find(b"\n")
            if end >= 0:
                return RawLine(None, position + end + 1)
            if not content:
                break
            position += len(content)
        return RawLine(None, self._size_bytes)
