"""Remove metadata from JPEG files. The markers are those of ITU-T T.81, table B.1."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from replicate_proxy.images.containers import jpeg
from replicate_proxy.images.stripping.parts import StrippedFile

if TYPE_CHECKING:
    from replicate_proxy.images.containers import Source
    from replicate_proxy.images.containers.jpeg import Segment
    from replicate_proxy.images.stripping.parts import Part


_APP0, _APP1, _APP2, _APP14 = 0xE0, 0xE1, 0xE2, 0xEE
# What the pixels are decoded from: frames and their tables, arithmetic coding, scans, number of lines,
# restart interval, hierarchical progression. JPG (0xC8) is reserved.
_PIXEL_MARKERS: Final = frozenset({*range(0xC0, 0xD0), *range(0xDA, 0xE0), jpeg.END_OF_IMAGE} - {0xC8})
_MAX_BODY_BYTES: Final = 0xFFFF - 2
# How colors are encoded. JFIF (part 5, section 10.1): identifier, version, units, density, then the size of a
# thumbnail and its pixels, which may show what was cut off from the picture. Adobe (T.872, section 6.5.3).
_JFIF, _JFIF_BYTES, _NO_THUMBNAIL = b"JFIF\0", 12, b"\0\0"
_ADOBE, _ADOBE_BYTES = b"Adobe", 12
# The name of a part of the profile (ICC.1, annex B.4).
_COLOR_PROFILE: Final = b"ICC_PROFILE\0"


def strip_jpeg(source: Source, exif: bytes) -> StrippedFile:
    """Return tables, pixels and color profile of the first image, with `exif` before them.

    Raises UnknownStructureError.
    """
    parts: list[Part] = [(0, 2)]
    if exif and len(exif) <= _MAX_BODY_BYTES:
        parts.append(_build_segment(_APP1, exif))
    for segment in jpeg.read_segments(source):
        parts.extend(_select(source, segment))
    return StrippedFile(tuple(parts))


def _select(source: Source, segment: Segment) -> list[Part]:
    """Return what is kept of the segment."""
    marker, start = segment.marker, source[segment.body : min(segment.body + _JFIF_BYTES, segment.end)]
    if marker in _PIXEL_MARKERS or (marker == _APP2 and start == _COLOR_PROFILE):
        return [(segment.start, segment.end)]
    has_thumbnail_size = segment.end - segment.body >= _JFIF_BYTES + len(_NO_THUMBNAIL)
    if marker == _APP0 and start.startswith(_JFIF) and has_thumbnail_size:
        return [_build_segment(_APP0, start + _NO_THUMBNAIL)]
    if marker == _APP14 and start.startswith(_ADOBE) and len(start) == _ADOBE_BYTES:
        return [_build_segment(_APP14, start)]
    return []


def _build_segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body
