"""Remove metadata from JPEG files. The structure is that of ITU-T T.81, annex B (markers)."""

from __future__ import annotations

import struct
from typing import Final

from replicate_proxy.images.stripping import UnknownStructureError

_MARKER_PREFIX: Final = 0xFF
_START_OF_IMAGE, _END_OF_IMAGE = b"\xff\xd8", b"\xff\xd9"
_START_OF_SCAN: Final = 0xDA
_APP0, _APP1, _APP2, _APP14, _APP15, _COMMENT = 0xE0, 0xE1, 0xE2, 0xEE, 0xEF, 0xFE


def strip_jpeg(source: bytes, exif: bytes) -> bytes:
    """Return tables, pixels and color profile of the first image, with `exif` before them.

    Raises UnknownStructureError.
    """
    parts = [_START_OF_IMAGE]
    if exif:
        parts.append(struct.pack(">BBH", _MARKER_PREFIX, _APP1, len(exif) + 2) + exif)
    position = 2
    while source[position] == _MARKER_PREFIX:
        marker = source[position + 1]
        end = position + 2 + struct.unpack_from(">H", source, position + 2)[0]
        if marker == _START_OF_SCAN:
            image_end = source.find(_END_OF_IMAGE, end)
            if image_end < 0:
                raise UnknownStructureError
            return b"".join([*parts, source[position : image_end + 2]])
        if _is_kept(marker, source[position + 4 : end]):
            parts.append(source[position:end])
        position = end
    raise UnknownStructureError


def _is_kept(marker: int, body: bytes) -> bool:
    if marker == _APP2:
        return body.startswith(b"ICC_PROFILE\0")
    # APP0 (JFIF) and APP14 (Adobe) say how colors are encoded.
    return marker in {_APP0, _APP14} or (marker != _COMMENT and not _APP1 <= marker <= _APP15)
