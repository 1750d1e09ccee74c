"""Remove metadata from WebP files. The structure is that of RFC 9649, section 2.7 (extended file format)."""

from __future__ import annotations

import struct
from typing import Final

_KEPT_CHUNKS: Final = frozenset({b"VP8X", b"VP8 ", b"VP8L", b"ALPH", b"ANIM", b"ANMF", b"ICCP"})
# Flags of VP8X: the file has such a chunk.
_XMP_FLAG, _EXIF_FLAG = 0x04, 0x08
_RIFF_HEADER_BYTES: Final = 12


def strip_webp(source: bytes, exif: bytes) -> bytes:
    """Return pixels, frames and color profile, with `exif` after them.

    Only the extended format can hold EXIF; a source in the simple format stays without.
    """
    tiff = exif.removeprefix(b"Exif\0\0")
    body = bytearray(b"WEBP")
    is_extended = False
    position = _RIFF_HEADER_BYTES
    end = min(len(source), 8 + struct.unpack_from("<I", source, 4)[0])
    while position + 8 <= end:
        size = struct.unpack_from("<I", source, position + 4)[0]
        chunk_end = position + 8 + size + size % 2
        chunk = bytearray(source[position:chunk_end])
        if bytes(chunk[:4]) == b"VP8X":
            is_extended = True
            chunk[8] = chunk[8] & ~(_XMP_FLAG | _EXIF_FLAG) | (_EXIF_FLAG if tiff else 0)
        if bytes(chunk[:4]) in _KEPT_CHUNKS:
            body += chunk
        position = chunk_end
    if is_extended and tiff:
        body += b"EXIF" + struct.pack("<I", len(tiff)) + tiff + b"\0" * (len(tiff) % 2)
    return b"RIFF" + struct.pack("<I", len(body)) + bytes(body)
