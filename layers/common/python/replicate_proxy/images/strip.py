"""Metadata out of a file that is kept as it is, without touching its pixels: where it was taken is nobody's
business.

JPEG: ITU-T T.81 markers; PNG: W3C PNG specification, chunks; WebP: RFC 9649, RIFF chunks. What follows the
end of the image goes too, so that no second file travels inside. GIF and AVIF are left alone: neither comes
with a position from any model or camera we know of, and their structure does not allow it as simply.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from PIL import ExifTags, Image

if TYPE_CHECKING:
    from collections.abc import Iterator

    from replicate_proxy.images.job import Job
    from replicate_proxy.images.result import ImageResult

__all__ = ["hand_over_stripped", "strip"]

_PNG_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_PNG_KEPT: Final = frozenset(
    {
        b"IHDR",
        b"PLTE",
        b"IDAT",
        b"IEND",
        b"tRNS",
        b"gAMA",
        b"cHRM",
        b"sRGB",
        b"iCCP",
        b"cICP",
        b"bKGD",
        b"pHYs",
    }
    | {b"sBIT", b"acTL", b"fcTL", b"fdAT"}
)
_WEBP_KEPT: Final = frozenset({b"VP8X", b"VP8 ", b"VP8L", b"ALPH", b"ANIM", b"ANMF", b"ICCP"})
_WEBP_METADATA_FLAGS: Final = 0x0C
_MARK: Final = 0xFF
_SOI, _EOI, _SOS = b"\xff\xd8", b"\xff\xd9", 0xDA
_APP1, _APP2, _APP14, _APP15, _APP0, _COMMENT = 0xE1, 0xE2, 0xEE, 0xEF, 0xE0, 0xFE


def hand_over_stripped(job: Job, facts: ImageResult, *, exif: bytes, turned: int) -> ImageResult:
    """Writes the source without its metadata as the output; a file that has none is left to be stored as it
    is.
    """
    source = job.source.read_bytes()
    stripped = strip(source, facts.source_format, exif=_small_exif(exif, turned))
    if stripped is None or len(stripped) >= len(source):
        return facts
    job.output.write_bytes(stripped)
    return replace(facts, bytes_after=len(stripped), sha256=hashlib.sha256(stripped).hexdigest())


def strip(source: bytes, name: str, *, exif: bytes = b"") -> bytes | None:
    """The file with `exif` as its only metadata; None for a format or structure that is not taken apart."""
    try:
        match name:
            case "jpeg":
                return _strip_jpeg(source, exif)
            case "png":
                return _strip_png(source, exif)
            case "webp":
                return _strip_webp(source)
    except (IndexError, struct.error):
        return None
    return None


def _small_exif(exif: bytes, turned: int) -> bytes:
    """The block to keep, and in it which way is up: without that the picture would lie on its side."""
    if turned <= 1:
        return exif
    kept = Image.Exif()
    if exif:
        kept.load(exif)
    kept[ExifTags.Base.Orientation] = turned
    return kept.tobytes()


def _strip_jpeg(source: bytes, exif: bytes) -> bytes | None:
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
        if _jpeg_kept(marker, source[at + 4 : end]):
            parts.append(source[at:end])
        at = end
    return None


def _jpeg_kept(marker: int, body: bytes) -> bool:
    if marker == _APP2:
        return body.startswith(b"ICC_PROFILE\0")
    return marker in {_APP0, _APP14} or (marker != _COMMENT and not _APP1 <= marker <= _APP15)


def _strip_png(source: bytes, exif: bytes) -> bytes | None:
    parts = [_PNG_SIGNATURE]
    for name, chunk in _png_chunks(source):
        if name in _PNG_KEPT:
            parts.append(chunk)
        if name == b"IHDR" and exif:
            body = b"eXIf" + exif.removeprefix(b"Exif\0\0")
            parts.append(struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body)))
        if name == b"IEND":
            return b"".join(parts)
    return None


def _png_chunks(source: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = len(_PNG_SIGNATURE)
    while at + 12 <= len(source):
        end = at + 12 + struct.unpack_from(">I", source, at)[0]
        yield source[at + 4 : at + 8], source[at:end]
        at = end


def _strip_webp(source: bytes) -> bytes:
    body = bytearray(b"WEBP")
    at, end = 12, min(len(source), 8 + struct.unpack_from("<I", source, 4)[0])
    while at + 8 <= end:
        size = struct.unpack_from("<I", source, at + 4)[0]
        following = at + 8 + size + size % 2
        chunk = bytearray(source[at:following])
        if bytes(chunk[:4]) == b"VP8X":
            chunk[8] &= ~_WEBP_METADATA_FLAGS
        if bytes(chunk[:4]) in _WEBP_KEPT:
            body += chunk
        at = following
    return b"RIFF" + struct.pack("<I", len(body)) + bytes(body)
