"""PNG without its metadata: W3C PNG specification, chunks."""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["strip_png"]

_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_PIXELS: Final = frozenset({b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"acTL", b"fcTL", b"fdAT"})
_DISPLAY: Final = frozenset({b"gAMA", b"cHRM", b"sRGB", b"iCCP", b"cICP", b"bKGD", b"pHYs", b"sBIT"})


def strip_png(source: bytes, exif: bytes) -> bytes | None:
    """What is drawn and how it is to be shown, with `exif` after the header; ends at IEND."""
    parts = [_SIGNATURE]
    for name, chunk in _chunks(source):
        if name in _PIXELS or name in _DISPLAY:
            parts.append(chunk)
        if name == b"IHDR" and exif:
            body = b"eXIf" + exif.removeprefix(b"Exif\0\0")
            parts.append(struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body)))
        if name == b"IEND":
            return b"".join(parts)
    return None


def _chunks(source: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = len(_SIGNATURE)
    while at + 12 <= len(source):
        end = at + 12 + struct.unpack_from(">I", source, at)[0]
        yield source[at + 4 : at + 8], source[at:end]
        at = end
