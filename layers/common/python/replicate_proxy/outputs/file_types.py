"""Detect a file's type by its first bytes, never by its name. No I/O.

The signatures are those of the WHATWG MIME Sniffing standard, ISO/IEC 14496-12 (`ftyp` brands), RFC 9649
(WebP) and the specifications of the other formats.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

HEAD_BYTES = 4096

type FileKind = Literal["image", "video", "audio", "document", "archive", "model", "text", "unknown"]


@dataclass(frozen=True)
class FileType:
    """`is_inline` says whether browsers may show the file; all others are served as downloads."""

    kind: FileKind
    extension: str
    content_type: str
    is_inline: bool = False


TEXT = FileType("text", "txt", "text/plain; charset=utf-8", is_inline=True)
JSON = FileType("text", "json", "application/json")
_UNKNOWN = FileType("unknown", "bin", "application/octet-stream")
_HTML = FileType("document", "html", "text/html; charset=utf-8")
_SVG = FileType("document", "svg", "image/svg+xml")
_XML = FileType("document", "xml", "application/xml")

_TYPES_BY_PREFIX: tuple[tuple[bytes, FileType], ...] = (
    (b"\x89PNG\r\n\x1a\n", FileType("image", "png", "image/png", is_inline=True)),
    (b"\xff\xd8\xff", FileType("image", "jpg", "image/jpeg", is_inline=True)),
    (b"GIF87a", FileType("image", "gif", "image/gif", is_inline=True)),
    (b"GIF89a", FileType("image", "gif", "image/gif", is_inline=True)),
    (b"BM", FileType("image", "bmp", "image/bmp")),
    (b"II*\0", FileType("image", "tiff", "image/tiff")),
    (b"MM\0*", FileType("image", "tiff", "image/tiff")),
    (b"8BPS", FileType("image", "psd", "image/vnd.adobe.photoshop")),
    (b"\x1a\x45\xdf\xa3", FileType("video", "webm", "video/webm", is_inline=True)),
    (b"ID3", FileType("audio", "mp3", "audio/mpeg", is_inline=True)),
    (b"fLaC", FileType("audio", "flac", "audio/flac", is_inline=True)),
    (b"OggS", FileType("audio", "ogg", "audio/ogg", is_inline=True)),
    (b"MThd", FileType("audio", "mid", "audio/midi")),
    (b"%PDF-", FileType("document", "pdf", "application/pdf")),
    (b"PK\x03\x04", FileType("archive", "zip", "application/zip")),
    (b"PK\x05\x06", FileType("archive", "zip", "application/zip")),
    (b"\x1f\x8b", FileType("archive", "gz", "application/gzip")),
    (b"BZh", FileType("archive", "bz2", "application/x-bzip2")),
    (b"\xfd7zXZ\0", FileType("archive", "xz", "application/x-xz")),
    (b"\x28\xb5\x2f\xfd", FileType("archive", "zst", "application/zstd")),
    (b"7z\xbc\xaf\x27\x1c", FileType("archive", "7z", "application/x-7z-compressed")),
    (b"glTF", FileType("model", "glb", "model/gltf-binary")),
    (b"ply\n", FileType("model", "ply", "application/octet-stream")),
    (b"ply\r\n", FileType("model", "ply", "application/octet-stream")),
    (b"\x93NUMPY", FileType("model", "npy", "application/octet-stream")),
)
_TYPES_BY_RIFF_FORMAT = {
    b"WEBP": FileType("image", "webp", "image/webp", is_inline=True),
    b"WAVE": FileType("audio", "wav", "audio/wav", is_inline=True),
    b"AVI ": FileType("video", "avi", "video/x-msvideo"),
}
_TYPES_BY_BRAND = {
    b"avif": FileType("image", "avif", "image/avif", is_inline=True),
    b"avis": FileType("image", "avif", "image/avif", is_inline=True),
    b"heic": FileType("image", "heic", "image/heic"),
    b"heix": FileType("image", "heic", "image/heic"),
    b"mif1": FileType("image", "heif", "image/heif"),
    b"M4A ": FileType("audio", "m4a", "audio/mp4", is_inline=True),
    b"qt  ": FileType("video", "mov", "video/quicktime"),
}
_MP4 = FileType("video", "mp4", "video/mp4", is_inline=True)
_TAR = FileType("archive", "tar", "application/x-tar")
_SAFETENSORS = FileType("model", "safetensors", "application/octet-stream")
_MPEG_AUDIO = FileType("audio", "mp3", "audio/mpeg", is_inline=True)
_AAC = FileType("audio", "aac", "audio/aac", is_inline=True)
_MAX_SAFETENSORS_HEADER_BYTES = 1 << 32
# The sizes of the known versions of the bitmap header.
_BITMAP_HEADER_SIZES = frozenset({12, 40, 52, 56, 64, 108, 124})
# Frame headers: sync, version, layer III with a bit rate (ISO/IEC 11172-3); sync, version, layer 0 (ISO/IEC
# 13818-7).
_MPEG_AUDIO_FRAME = re.compile(rb"\xff[\xe2\xe3\xf2\xf3\xfa\xfb][\x10-\xef]", re.DOTALL)
_AAC_FRAME = re.compile(rb"\xff[\xf0\xf1\xf8\xf9]", re.DOTALL)
# Control characters that no text contains: all but tab, line feed, form feed, carriage return and escape.
_BINARY_CHARACTERS = re.compile(rb"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f]")
# Markup near the start makes a file active content, whatever precedes it.
_MARKUP = re.compile(
    rb"<\s*(?:!doctype\s+html|html|head|body|script|iframe|style|title|meta|link|table|div|img|a|p|br|h1|form|object|embed|base|!--)"
    rb"[\s/>]",
    re.IGNORECASE,
)
_SVG_TAG = re.compile(rb"<\s*(?:[a-z0-9_-]+:)?svg[\s/>]", re.IGNORECASE)


def detect_file_type(head: bytes) -> FileType:
    """Return the file's type. `head` are its first `HEAD_BYTES`, or all of a shorter file."""
    head = head[:HEAD_BYTES]
    for prefix, file_type in _TYPES_BY_PREFIX:
        if head.startswith(prefix) and (prefix != b"BM" or _is_bitmap(head)):
            return file_type
    return _detect_container(head) or _detect_text(head) or _UNKNOWN


def _is_bitmap(head: bytes) -> bool:
    """Tell a bitmap from text that begins with "BM": by four reserved zero bytes and a known header size."""
    header_size = int.from_bytes(head[14:18], "little")
    return head[6:10] == b"\0\0\0\0" and header_size in _BITMAP_HEADER_SIZES


def _detect_container(head: bytes) -> FileType | None:
    if head[:4] == b"RIFF":
        return _TYPES_BY_RIFF_FORMAT.get(head[8:12])
    if head[4:8] == b"ftyp":
        return _detect_iso_media(head)
    if head[257:262] == b"ustar":
        return _TAR
    if head[8:10] == b'{"' and int.from_bytes(head[:8], "little") < _MAX_SAFETENSORS_HEADER_BYTES:
        return _SAFETENSORS
    if _AAC_FRAME.match(head):
        return _AAC
    return _MPEG_AUDIO if _MPEG_AUDIO_FRAME.match(head) else None


def _detect_iso_media(head: bytes) -> FileType:
    """Detect by the major brand; a HEIF file that is compatible with AVIF is AVIF."""
    size = min(int.from_bytes(head[:4], "big"), 256)
    compatible_brands = {head[start : start + 4] for start in range(16, size, 4)}
    brand = head[8:12]
    if brand == b"mif1" and b"avif" in compatible_brands:
        brand = b"avif"
    return _TYPES_BY_BRAND.get(brand, _MP4)


def _detect_text(head: bytes) -> FileType | None:
    text = _decode_text(head)
    if text is None:
        return None
    if _SVG_TAG.search(text):
        return _SVG
    start = text.lstrip()
    if start.startswith(b"<?xml"):
        return _XML
    if _MARKUP.search(text):
        return _HTML
    return JSON if start[:1] in {b"{", b"["} else TEXT


def _decode_text(head: bytes) -> bytes | None:
    """Return the text as UTF-8 without byte order mark, or None for binary data.

    A character that is cut off at the end of the head does not make it binary.
    """
    for byte_order_mark, encoding in ((b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be")):
        if head.startswith(byte_order_mark):
            return head[2:].decode(encoding, "ignore").encode("utf-8", "ignore")
    head = head.removeprefix(b"\xef\xbb\xbf")
    if _BINARY_CHARACTERS.search(head):
        return None
    try:
        head.decode()
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3 or error.reason != "unexpected end of data":
            return None
    return head
