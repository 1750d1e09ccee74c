"""GIF without its metadata: GIF89a specification, blocks (sections 17 to 27).

JPEG without its metadata: ITU-T T.81, annex B (markers).

PNG without its metadata: W3C PNG specification, chunks.

WebP without its metadata: RFC 9649, section 2.7 (extended file format).
"""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING, Final

from replicate_proxy.images.stripping.errors import UnknownStructureError

if TYPE_CHECKING:
    from collections.abc import Iterator


_HEADER_BYTES: Final = 13
_SCREEN_FLAGS: Final = 10
_IMAGE_FLAGS: Final = 9
_HAS_PALETTE, _PALETTE_BITS = 0x80, 0x07
_PLAIN_TEXT, _GRAPHIC_CONTROL, _GIF_COMMENT, _APPLICATION = 0x01, 0xF9, 0xFE, 0xFF
_NETSCAPE: Final = b"NETSCAPE2.0"
# How often it is repeated, under two names, and its colour profile. XMP stands among these as well, and goes.
_KEPT_APPLICATIONS: Final = frozenset({_NETSCAPE, b"ANIMEXTS1.0", b"ICCRGBG1012"})


def strip_gif(source: bytes) -> bytes:
    """The screen, every image with its timing, the loop and the colour profile; ends at the trailer.

    GIF has no place for EXIF, hence none for a copyright of its own. Bytes between the blocks that begin none
    are left out, as decoders leave them out. Raises IndexError for a file that ends within a header,
    UnknownStructureError where decoders do not agree on what a block is.
    """
    at = _HEADER_BYTES + _palette_bytes(source[_SCREEN_FLAGS])
    parts = [source[:at]]
    while at < len(source):
        start, kept = at, False
        match source[at]:
            case 0x21:  # an extension
                if _reads_differently(source, start):
                    raise UnknownStructureError
                at, kept = _end_of_data(source, start + 2), _is_kept(source, start)
            case 0x2C:  # an image
                palette = _palette_bytes(source[start + _IMAGE_FLAGS])
                # One byte between descriptor and data tells the LZW code size.
                at, kept = _end_of_data(source, start + _IMAGE_FLAGS + 1 + palette + 1), True
            case 0x3B:  # the trailer
                return b"".join([*parts, source[start : start + 1]])
            case _:
                at = start + 1
        if kept:
            parts.append(source[start:at])
    return b"".join(parts)


def _palette_bytes(flags: int) -> int:
    return 3 << ((flags & _PALETTE_BITS) + 1) if flags & _HAS_PALETTE else 0


def _end_of_data(source: bytes, at: int) -> int:
    """Behind the sub-blocks that begin here, each a length and as many bytes, ended by an empty one.

    XMP does not keep to that but ends in 258 bytes chosen so that this way of reading gets across it
    (XMP specification part 3, GIF).
    """
    while at < len(source) and source[at]:
        at += 1 + source[at]
    return at + 1


def _reads_differently(source: bytes, at: int) -> bool:
    """An extension without content: some decoders (Pillow) take what follows it for its content."""
    label, size = source[at + 1], source[at + 2]
    if label == _GIF_COMMENT:
        return False
    name = source[at + 3 : at + 3 + size]
    return not name or (name.startswith(_NETSCAPE) and not source[at + 3 + size])


def _is_kept(source: bytes, at: int) -> bool:
    label = source[at + 1]
    if label == _APPLICATION:
        return source[at + 3 : at + 14] in _KEPT_APPLICATIONS
    return label in {_PLAIN_TEXT, _GRAPHIC_CONTROL}


_MARK: Final = 0xFF
_SOI, _EOI, _SOS = b"\xff\xd8", b"\xff\xd9", 0xDA
_APP1, _APP2, _APP14, _APP15, _APP0, _JPEG_COMMENT = 0xE1, 0xE2, 0xEE, 0xEF, 0xE0, 0xFE


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
    return marker in {_APP0, _APP14} or (marker != _JPEG_COMMENT and not _APP1 <= marker <= _APP15)


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
