"""Remove metadata from PNG files. The chunks are those of the W3C PNG specification, section 11."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from replicate_proxy.images.containers import png
from replicate_proxy.images.stripping.parts import StrippedFile

if TYPE_CHECKING:
    from replicate_proxy.images.containers import Source
    from replicate_proxy.images.stripping.parts import Part


PIXEL_CHUNKS: Final = frozenset({b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"acTL", b"fcTL", b"fdAT"})
# mDCV and cLLI tell a display how bright an HDR image is; encoders before the third edition wrote mDCv, cLLi.
_DISPLAY_CHUNKS: Final = frozenset(
    {b"gAMA", b"cHRM", b"sRGB", b"iCCP", b"cICP", b"bKGD", b"pHYs", b"sBIT", b"mDCV", b"cLLI"}
    | {b"mDCv", b"cLLi"}
)


def strip_png(source: Source, exif: bytes) -> StrippedFile:
    """Return the chunks of pixels and of how to show them, with `exif` after the header, up to IEND.

    Raises UnknownStructureError.
    """
    parts: list[Part] = [(0, len(png.SIGNATURE))]
    for chunk in png.read_chunks(source):
        if chunk.name in PIXEL_CHUNKS or chunk.name in _DISPLAY_CHUNKS:
            parts.append((chunk.start, chunk.end))
        if chunk.name == b"IHDR" and exif:
            parts.append(png.build_chunk(b"eXIf", exif.removeprefix(b"Exif\0\0")))
    return StrippedFile(tuple(parts))
