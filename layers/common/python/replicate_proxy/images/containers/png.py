"""Read and build the chunks of a PNG file. The structure is that of the W3C PNG specification, section 5."""

from __future__ import annotations

import re
import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from replicate_proxy.images.containers import UnknownStructureError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from replicate_proxy.images.containers import Source


SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
# A chunk's length and type, and its checksum.
_HEADER_BYTES: Final = 8
_CHECKSUM_BYTES: Final = 4
_CHUNK_NAME: Final = re.compile(rb"[A-Za-z]{4}")


@dataclass(frozen=True)
class Chunk:
    """A chunk's type, and offsets in the file: of the chunk, of its body, of the checksum, and of its end.

    A chunk that the file is too short for ends with it.
    """

    name: bytes
    start: int
    body: int
    body_end: int
    end: int

    def read(self, source: Source) -> bytes:
        return source[self.body : self.body_end]

    def has_valid_checksum(self, source: Source) -> bool:
        checksum = zlib.crc32(source[self.body - 4 : self.body_end])
        return source[self.body_end : self.end] == struct.pack(">I", checksum)


def read_chunks(source: Source) -> Iterator[Chunk]:
    """Yield the chunks up to IEND, without which the file may end. Raises UnknownStructureError."""
    if source[: len(SIGNATURE)] != SIGNATURE:
        raise UnknownStructureError
    position, size = len(SIGNATURE), len(source)
    while position < size:
        header = source[position : position + _HEADER_BYTES]
        if not _CHUNK_NAME.fullmatch(header[4:]):
            raise UnknownStructureError
        body = position + _HEADER_BYTES
        body_end = body + struct.unpack(">I", header[:4])[0]
        end = min(body_end + _CHECKSUM_BYTES, size)
        yield Chunk(header[4:], position, body, min(body_end, size), end)
        if header[4:] == b"IEND":
            return
        position = end


def build_chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(body, zlib.crc32(name)))
