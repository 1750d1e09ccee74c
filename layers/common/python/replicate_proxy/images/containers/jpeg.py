"""Read the segments of a JPEG file. The structure is that of ITU-T T.81, annex B.

Between segments there may be fill bytes (B.1.1.2) and, in practice, other bytes, which all decoders skip.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from replicate_proxy.images.containers import UnknownStructureError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from replicate_proxy.images.containers import Source


START_OF_IMAGE: Final = b"\xff\xd8"
END_OF_IMAGE: Final = 0xD9
START_OF_SCAN: Final = 0xDA
_REPEATED_START: Final = 0xD8
# A length counts itself.
_LENGTH_BYTES: Final = 2
# Restart markers and TEM have no length.
_STANDALONE_MARKERS: Final = frozenset({0x01, *range(0xD0, 0xD8)})
# Outside of a scan: the next byte after 0xFF that is neither a fill byte nor an escaped 0xFF.
_MARKER: Final = re.compile(rb"\xff+([^\x00\xff])", re.DOTALL)
# Within a scan restart markers belong to the data too.
_MARKER_AFTER_SCAN: Final = re.compile(rb"\xff+([^\x00\xff\xd0-\xd7])", re.DOTALL)


@dataclass(frozen=True)
class Segment:
    """A marker segment, and for a scan the data that follows it.

    Offsets in the file: of the marker's 0xFF without fill bytes, of the body after the length, and of the
    end. A segment that the file is too short for ends with it.
    """

    marker: int
    start: int
    body: int
    end: int


def read_segments(source: Source) -> Iterator[Segment]:
    """Yield the segments of the first image up to its end marker, which is the last one yielded.

    The file may end without that marker. Raises UnknownStructureError.
    """
    if source[:2] != START_OF_IMAGE:
        raise UnknownStructureError
    position = 2
    while match := _MARKER.search(source, position):
        marker, start = match[1][0], match.end() - 2
        position = match.end()
        if marker in _STANDALONE_MARKERS:
            continue
        if marker == END_OF_IMAGE:
            yield Segment(marker, start, position, position)
            return
        if marker == _REPEATED_START:
            raise UnknownStructureError
        body = position + _LENGTH_BYTES
        position = _find_end(source, marker, position)
        yield Segment(marker, start, min(body, position), position)


def _find_end(source: Source, marker: int, length_position: int) -> int:
    length_bytes = source[length_position : length_position + _LENGTH_BYTES]
    if len(length_bytes) < _LENGTH_BYTES:
        return len(source)
    length = int.from_bytes(length_bytes)
    if length < _LENGTH_BYTES:
        raise UnknownStructureError
    end = min(length_position + length, len(source))
    if marker != START_OF_SCAN:
        return end
    match = _MARKER_AFTER_SCAN.search(source, end)
    return match.start() if match else len(source)
