"""Read the blocks of a GIF file. The structure is that of the GIF89a specification, sections 17 to 27."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from replicate_proxy.images.containers import Source


HEADER_BYTES: Final = 13
# Offsets of the flags: in the header, and in an image descriptor.
_SCREEN_FLAGS_OFFSET: Final = 10
_IMAGE_FLAGS_OFFSET: Final = 9
_HAS_COLOR_TABLE, _COLOR_TABLE_SIZE_BITS = 0x80, 0x07
EXTENSION, IMAGE, TRAILER = 0x21, 0x2C, 0x3B
APPLICATION: Final = 0xFF
# Section "Netscape application extension" of the format's common description: a sub-block of three bytes, the
# first of them 1, then the number of repetitions. ANIMEXTS is another name for the same.
LOOP_APPLICATIONS: Final = frozenset({b"NETSCAPE2.0", b"ANIMEXTS1.0"})
APPLICATION_NAME_BYTES: Final = 11
_LOOP_SUB_BLOCK: Final = b"\x03\x01"


@dataclass(frozen=True)
class Block:
    """A block's first byte, the label if it is an extension, and its offsets in the file.

    Bytes that begin no block are blocks of one byte; decoders skip them.
    """

    kind: int
    label: int | None
    start: int
    end: int

    def read_application_name(self, source: Source) -> bytes:
        """Return the name and code of an application extension, empty for any other block."""
        if self.label != APPLICATION:
            return b""
        return source[self.start + 3 : self.start + 3 + APPLICATION_NAME_BYTES]


def read_screen_size(source: Source) -> tuple[int, int] | None:
    """Return width and height of the logical screen, None if it has no area."""
    width, height = struct.unpack("<HH", source[6:10])
    return (width, height) if width and height else None


def find_header_end(source: Source) -> int:
    """Return the offset after header and global color table. Raises IndexError."""
    return HEADER_BYTES + _read_color_table_bytes(source[_SCREEN_FLAGS_OFFSET])


def read_blocks(source: Source) -> Iterator[Block]:
    """Yield the blocks after the header up to the trailer, without which the file may end.

    Raises IndexError for a file that ends within a header.
    """
    position, size = find_header_end(source), len(source)
    while position < size:
        start, label = position, None
        kind = source[start]
        if kind == EXTENSION:
            label = source[start + 1]
            position = _find_data_end(source, start + 2)
        elif kind == IMAGE:
            table_bytes = _read_color_table_bytes(source[start + _IMAGE_FLAGS_OFFSET])
            # One byte between the color table and the data is the LZW code size.
            position = _find_data_end(source, start + _IMAGE_FLAGS_OFFSET + 1 + table_bytes + 1)
        else:
            position = start + 1
        yield Block(kind, label, start, min(position, size))
        if kind == TRAILER:
            return


def read_sub_blocks(source: Source, start: int, end: int) -> Iterator[bytes]:
    """Yield the contents of the sub-blocks: each a length and as many bytes, the last one empty."""
    while start < end and source[start]:
        content_start, start = start + 1, start + 1 + source[start]
        yield source[content_start : min(start, end)]


def read_plays(source: Source) -> int:
    """Return how often an animation is played, 0 for ever. Without a loop extension that is once."""
    plays = 1
    for block in read_blocks(source):
        if block.read_application_name(source) in LOOP_APPLICATIONS:
            body = block.start + 3 + APPLICATION_NAME_BYTES
            if source[body : body + 2] == _LOOP_SUB_BLOCK:
                repetitions = int.from_bytes(source[body + 2 : body + 4], "little")
                # The first play is not a repetition.
                plays = repetitions + 1 if repetitions else 0
    return plays


def _read_color_table_bytes(flags: int) -> int:
    return 3 << ((flags & _COLOR_TABLE_SIZE_BITS) + 1) if flags & _HAS_COLOR_TABLE else 0


def _find_data_end(source: Source, position: int) -> int:
    """Return the position after the sub-blocks: each a length and as many bytes, the last one empty.

    XMP does not consist of sub-blocks, but ends in 258 bytes chosen so that this way of reading also finds
    its end (XMP specification part 3, GIF).
    """
    while position < len(source) and source[position]:
        position += 1 + source[position]
    return position + 1
