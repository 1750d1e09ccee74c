"""WebP without its metadata: RFC 9649, section 2.7 (extended file format)."""

from __future__ import annotations

import struct
from typing import Final

__all__ = ["strip_webp"]

_KEPT: Final = frozenset({b"VP8X", b"VP8 ", b"VP8L", b"ALPH", b"ANIM", b"ANMF", b"ICCP"})
# Of VP8X's flags: the file has an XMP chunk, the file has an EXIF chunk.
_XMP_FLAG, _EXIF_FLAG = 0x04, 0x08


def strip_webp(source: bytes, exif: bytes) -> bytes:
    """Pixels, frames and colour profile. `exif` comes after them in a file of the extended format, the only
    one that can hold it (and so had it).
    """
    tiff = exif.removeprefix(b"Exif\0\0")
    body = bytearray(b"WEBP")
    extended = False
    at, end = 12, min(len(source), 8 + struct.unpack_from("<I", source, 4)[0])
    while at + 8 <= end:
        size = struct.unpack_from("<I", source, at + 4)[0]
        following = at + 8 + size + size % 2
        chunk = bytearray(source[at:following])
        if bytes(chunk[:4]) == b"VP8X":
            extended = True
            chunk[8] = chunk[8] & ~(_XMP_FLAG | _EXIF_FLAG) | (_EXIF_FLAG if tiff else 0)
        if bytes(chunk[:4]) in _KEPT:
            body += chunk
        at = following
    if extended and tiff:
        body += b"EXIF" + struct.pack("<I", len(tiff)) + tiff + b"\0" * (len(tiff) % 2)
    return b"RIFF" + struct.pack("<I", len(body)) + bytes(body)
