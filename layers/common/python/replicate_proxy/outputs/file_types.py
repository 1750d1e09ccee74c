"""What a file is, by its first bytes and never by its name; and how it may be served. Pure.

Signatures: WHATWG MIME Sniffing standard; ISO/IEC 14496-12 (`ftyp` brands); RFC 9649 (WebP); the formats' own
pages.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

HEAD_BYTES = 4096

type FileKind = Literal["image", "video", "audio", "document", "archive", "model", "text", "unknown"]


@dataclass(frozen=True)
class FileType:
    """`inline` says whether a browser may show it; all else is served as a download."""

    kind: FileKind
    extension: str
    content_type: str
    is_inline: bool = False


_UNKNOWN = FileType("unknown", "bin", "application/octet-stream")
_TEXT = FileType("text", "txt", "text/plain; charset=utf-8", is_inline=True)
_JSON = FileType("text", "json", "application/json")
_HTML = FileType("document", "html", "text/html; charset=utf-8")
_SVG = FileType("document", "svg", "image/svg+xml")
_XML = FileType("document", "xml", "application/xml")

_PREFIXES: tuple[tuple[bytes, FileType], ...] = (
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
_RIFF = {
    b"WEBP": FileType("image", "webp", "image/webp", is_inline=True),
    b"WAVE": FileType("audio", "wav", "audio/wav", is_inline=True),
    b"AVI ": FileType("video", "avi", "video/x-msvideo"),
}
_BRANDS = {
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
_LONGEST_SAFETENSORS_HEADER = 1 << 32
# ISO/IEC 11172-3 and 13818-7 frame headers: sync, version, layer; layer III with a bit rate.
_MPEG_LAYER_3 = re.compile(rb"\xff[\xe2\xe3\xf2\xf3\xfa\xfb][\x10-\xef]", re.DOTALL)
_ADTS = re.compile(rb"\xff[\xf0\xf1\xf8\xf9]", re.DOTALL)
# What no text holds: control characters other than tab, line feed, form feed, carriage return and escape.
_CONTROL = re.compile(rb"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f]")

# Anything that looks like markup near its start counts as active, whatever comes first.
_MARKUP = re.compile(
    rb"<\s*(?:!doctype\s+html|html|head|body|script|iframe|style|title|meta|link|table|div|img|a|p|br|h1|form|object|embed|base|!--)"
    rb"[\s/>]",
    re.IGNORECASE,
)
_SVG_TAG = re.compile(rb"<\s*(?:[a-z0-9_-]+:)?svg[\s/>]", re.IGNORECASE)


def detect_file_type(head: bytes) -> FileType:
    """Judges by the first `SNIFF_BYTES` of a file; fewer are enough for small files."""
    head = head[:HEAD_BYTES]
    for prefix, found in _PREFIXES:
        if head.startswith(prefix) and (prefix != b"BM" or _is_bitmap(head)):
            return found
    return _container(head) or _textual(head) or _UNKNOWN


def _container(head: bytes) -> FileType | None:
    if head[:4] == b"RIFF":
        return _RIFF.get(head[8:12])
    if head[4:8] == b"ftyp":
        return _ftyp(head)
    if head[257:262] == b"ustar":
        return _TAR
    if head[8:10] == b'{"' and int.from_bytes(head[:8], "little") < _LONGEST_SAFETENSORS_HEADER:
        return _SAFETENSORS
    return _AAC if _ADTS.match(head) else _MPEG_AUDIO if _MPEG_LAYER_3.match(head) else None


def _ftyp(head: bytes) -> FileType:
    """ISO base media: the major brand decides; a HEIF that lists AVIF among its compatible brands is AVIF."""
    size = min(int.from_bytes(head[:4], "big"), 256)
    compatible = {head[at : at + 4] for at in range(16, size, 4)}
    brand = head[8:12]
    if brand == b"mif1" and b"avif" in compatible:
        brand = b"avif"
    return _BRANDS.get(brand, _MP4)


def _is_bitmap(head: bytes) -> bool:
    """Text may begin with "BM"; a bitmap has four reserved zero bytes and a known header size."""
    return head[6:10] == b"\0\0\0\0" and int.from_bytes(head[14:18], "little") in {
        12,
        40,
        52,
        56,
        64,
        108,
        124,
    }


def _textual(head: bytes) -> FileType | None:
    text = _without_mark(head)
    if text is None:
        return None
    if _SVG_TAG.search(text):
        return _SVG
    start = text.lstrip()
    if start.startswith(b"<?xml"):
        return _XML
    if _MARKUP.search(text):
        return _HTML
    return _JSON if start[:1] in {b"{", b"["} else _TEXT


def _without_mark(head: bytes) -> bytes | None:
    """The text as UTF-8, or None for binary data. A character cut in two by the head's end is no fault."""
    for mark, encoding in ((b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be")):
        if head.startswith(mark):
            return head[2:].decode(encoding, "ignore").encode("utf-8", "ignore")
    head = head.removeprefix(b"\xef\xbb\xbf")
    if _CONTROL.search(head):
        return None
    try:
        head.decode()
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3 or error.reason != "unexpected end of data":
            return None
    return head
