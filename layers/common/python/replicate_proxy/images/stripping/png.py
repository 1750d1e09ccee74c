"""Remove metadata from PNG files. The structure is that of the W3C PNG specification (chunks)."""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING, Final

from replicate_proxy.images.stripping import UnknownStructureError

if TYPE_CHECKING:
    from collections.abc import Iterator


_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
# A chunk's length, type and checksum.
_CHUNK_OVERHEAD_BYTES: Final = 12
_PIXEL_CHUNKS: Final = frozenset({b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"acTL", b"fcTL", b"fdAT"})
_DISPLAY_CHUNKS: Final = frozenset({b"gAMA", b"cHRM", b"sRGB", b"iCCP", b"cICP", b"bKGD", b"pHYs", b"sBIT"})


def strip_png(source: bytes, exif: bytes) -> bytes:
    """Return the chunks of pixels and of how to show them, with `exif` after the header, up to IEND.

    Raises UnknownStructureError.
    """
    parts = [_SIGNATURE]
    for name, chunk in _split_chunks(source):
        if name in _PIXEL_CHUNKS or name in _DISPLAY_CHUNKS:
            parts.append(chunk)
        if name == b"IHDR" and exif:
            parts.append(_build_chunk(b"eXIf", exif.removeprefix(b"Exif\0\0")))
        if name == b"IEND":
            return b"".join(parts)
    raise UnknownStructureError


def _split_chunks(source: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield each chunk's type and the whole chunk."""
    position = len(_SIGNATURE)
    while position + _CHUNK_OVERHEAD_BYTES <= len(source):
        end = position + _CHUNK_OVERHEAD_BYTES + struct.unpack_from(">I", source, position)[0]
        yield source[position + 4 : position + 8], source[position:end]
        position = end


def _build_chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
