"""Read the chunks of a WebP file. The structure is that of RFC 9649, section 2."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from replicate_proxy.images.containers import UnknownStructureError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from replicate_proxy.images.containers import Source


RIFF_HEADER_BYTES: Final = 12
CHUNK_HEADER_BYTES: Final = 8


@dataclass(frozen=True)
class Chunk:
    """A chunk's type, and offsets in the file: of the chunk, and of its end, a byte of padding included."""

    name: bytes
    start: int
    end: int


def read_chunks(source: Source) -> Iterator[Chunk]:
    """Yield the chunks within the size that the file states. Raises UnknownStructureError."""
    header = source[:RIFF_HEADER_BYTES]
    if len(header) < RIFF_HEADER_BYTES or header[:4] != b"RIFF" or header[8:] != b"WEBP":
        raise UnknownStructureError
    stated_end = CHUNK_HEADER_BYTES + struct.unpack("<I", header[4:8])[0]
    yield from read_chunks_within(source, RIFF_HEADER_BYTES, min(len(source), stated_end))


def read_chunks_within(source: Source, start: int, end: int) -> Iterator[Chunk]:
    """Yield the chunks of this part of the file; the last one may be cut off by its end."""
    while start + CHUNK_HEADER_BYTES <= end:
        size = struct.unpack("<I", source[start + 4 : start + 8])[0]
        chunk_end = start + CHUNK_HEADER_BYTES + size + size % 2
        yield Chunk(source[start : start + 4], start, min(chunk_end, end))
        start = chunk_end
