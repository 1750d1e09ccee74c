"""Remove metadata from WebP files. The chunks are those of RFC 9649, section 2.7 (extended file format)."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from replicate_proxy.images.containers import webp
from replicate_proxy.images.stripping.parts import StrippedFile

if TYPE_CHECKING:
    from replicate_proxy.images.containers import Source
    from replicate_proxy.images.containers.webp import Chunk
    from replicate_proxy.images.stripping.parts import Part


_KEPT_CHUNKS: Final = frozenset({b"VP8X", b"VP8 ", b"VP8L", b"ALPH", b"ANIM", b"ICCP"})
_FRAME, _FRAME_HEADER_BYTES = b"ANMF", 16
_FRAME_CHUNKS: Final = frozenset({b"VP8 ", b"VP8L", b"ALPH"})
# Flags of VP8X, its first byte: the file has such a chunk.
_XMP_FLAG, _EXIF_FLAG = 0x04, 0x08


def strip_webp(source: Source, exif: bytes) -> StrippedFile:
    """Return pixels, frames and color profile, with `exif` after them.

    Only the extended format can hold EXIF; a source in the simple format stays without. Raises
    UnknownStructureError.
    """
    tiff = exif.removeprefix(b"Exif\0\0")
    parts: list[Part] = []
    is_extended = False
    for chunk in webp.read_chunks(source):
        if chunk.name == b"VP8X":
            is_extended = True
            parts.append(_set_flags(source, chunk, has_exif=bool(tiff)))
        elif chunk.name == _FRAME:
            parts.extend(_strip_frame(source, chunk))
        elif chunk.name in _KEPT_CHUNKS:
            parts.append((chunk.start, chunk.end))
    if is_extended and tiff:
        parts.append(b"EXIF" + struct.pack("<I", len(tiff)) + tiff + b"\0" * (len(tiff) % 2))
    size = StrippedFile(tuple(parts)).size
    return StrippedFile((b"RIFF" + struct.pack("<I", size + 4) + b"WEBP", *parts))


def _set_flags(source: Source, chunk: Chunk, *, has_exif: bool) -> bytes:
    content = bytearray(source[chunk.start : chunk.end])
    if len(content) > webp.CHUNK_HEADER_BYTES:
        flags = content[webp.CHUNK_HEADER_BYTES] & ~(_XMP_FLAG | _EXIF_FLAG)
        content[webp.CHUNK_HEADER_BYTES] = flags | (_EXIF_FLAG if has_exif else 0)
    return bytes(content)


def _strip_frame(source: Source, frame: Chunk) -> list[Part]:
    """Return the frame without the unknown chunks that it may contain after its bitstream."""
    chunks_start = frame.start + webp.CHUNK_HEADER_BYTES + _FRAME_HEADER_BYTES
    chunks = list(webp.read_chunks_within(source, chunks_start, frame.end))
    kept: list[Part] = [(chunk.start, chunk.end) for chunk in chunks if chunk.name in _FRAME_CHUNKS]
    if len(kept) == len(chunks) and (not chunks or chunks[-1].end == frame.end):
        return [(frame.start, frame.end)]
    size = _FRAME_HEADER_BYTES + StrippedFile(tuple(kept)).size
    header_start = frame.start + webp.CHUNK_HEADER_BYTES
    return [_FRAME + struct.pack("<I", size), (header_start, min(chunks_start, frame.end)), *kept]
