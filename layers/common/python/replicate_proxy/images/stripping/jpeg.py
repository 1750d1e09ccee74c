"""JPEG without its metadata: ITU-T T.81, annex B (markers)."""

from __future__ import annotations

import struct
from typing import Final

__all__ = ["strip_jpeg"]

_MARK: Final = 0xFF
_SOI, _EOI, _SOS = b"\xff\xd8", b"\xff\xd9", 0xDA
_APP1, _APP2, _APP14, _APP15, _APP0, _COMMENT = 0xE1, 0xE2, 0xEE, 0xEF, 0xE0, 0xFE


def strip_jpeg(source: bytes, exif: bytes) -> bytes | None:
    """Tables, pixels and colour profile, with `exif` before them; ends where the first picture ends."""
    parts = [_SOI]
    if exif:
        parts.append(struct.pack(">BBH", _MARK, _APP1, len(exif) + 2) + exif)
    at = 2
    while source[at] == _MARK:
        marker = source[at + 1]
        end = at + 2 + struct.unpack_from(">H", source, at + 2)[0]
        if marker == _SOS:
            last = source.find(_EOI, end)
            return None if last < 0 else b"".join([*parts, source[at : last + 2]])
        if _kept(marker, source[at + 4 : end]):
            parts.append(source[at:end])
        at = end
    return None


def _kept(marker: int, body: bytes) -> bool:
    if marker == _APP2:
        return body.startswith(b"ICC_PROFILE\0")
    return marker in {_APP0, _APP14} or (marker != _COMMENT and not _APP1 <= marker <= _APP15)
