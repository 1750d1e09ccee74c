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

    @property
    def format(self) -> str:
        """Return the name of the format: that of the image encoders for JPEG, otherwise the extension."""
        return "jpeg" if self.extension == "jpg" else self.extension


TEXT = FileType("text", "txt", "text/plain; charset=utf-8", is_inline=True)
JSON = FileType("text", "json", "application/json")
_UNKNOWN = FileType("unknown", "bin", "application/octet-stream")
_HTML = FileType("document", "html", "text/html; charset=utf-8")
_SVG = FileType("document", "svg", "image/svg+xml")
_XML = FileType("document", "xml", "application/xml")
_MP4 = FileType("video", "mp4", "video/mp4", is_inline=True)
_WEBM = FileType("video", "webm", "video/webm", is_inline=True)
_MATROSKA = FileType("video", "mkv", "video/x-matroska")
_MPEG_TS = FileType("video", "ts", "video/mp2t")
_OGG = FileType("audio", "ogg", "audio/ogg", is_inline=True)
_OGG_VIDEO = FileType("video", "ogv", "video/ogg", is_inline=True)
_TAR = FileType("archive", "tar", "application/x-tar")
_SAFETENSORS = FileType("model", "safetensors", "application/octet-stream")
_MPEG_AUDIO = FileType("audio", "mp3", "audio/mpeg", is_inline=True)
_AAC = FileType("audio", "aac", "audio/aac", is_inline=True)
_AIFF = FileType("audio", "aiff", "audio/aiff")

_TYPES_BY_PREFIX: tuple[tuple[bytes, FileType], ...] = (
    (b"\x89PNG\r\n\x1a\n", FileType("image", "png", "image/png", is_inline=True)),
    (b"\xff\xd8\xff", FileType("image", "jpg", "image/jpeg", is_inline=True)),
    (b"GIF87a", FileType("image", "gif", "image/gif", is_inline=True)),
    (b"GIF89a", FileType("image", "gif", "image/gif", is_inline=True)),
    (b"BM", FileType("image", "bmp", "image/bmp")),
    (b"II*\0", FileType("image", "tiff", "image/tiff")),
    (b"MM\0*", FileType("image", "tiff", "image/tiff")),
    (b"II+\0", FileType("image", "tiff", "image/tiff")),
    (b"MM\0+", FileType("image", "tiff", "image/tiff")),
    (b"8BPS", FileType("image", "psd", "image/vnd.adobe.photoshop")),
    (b"\0\0\1\0", FileType("image", "ico", "image/vnd.microsoft.icon")),
    (b"\xff\x0a", FileType("image", "jxl", "image/jxl")),
    (b"\0\0\0\x0cJXL \r\n\x87\n", FileType("image", "jxl", "image/jxl")),
    (b"\0\0\0\x0cjP  \r\n\x87\n", FileType("image", "jp2", "image/jp2")),
    (b"#?RADIANCE\n", FileType("image", "hdr", "image/vnd.radiance")),
    (b"#?RGBE\n", FileType("image", "hdr", "image/vnd.radiance")),
    (b"v/1\1", FileType("image", "exr", "image/x-exr")),
    (b"qoif", FileType("image", "qoi", "image/qoi")),
    (b"DDS ", FileType("image", "dds", "image/vnd-ms.dds")),
    (b"\xabKTX ", FileType("image", "ktx", "image/ktx")),
    (b"farbfeld", FileType("image", "ff", "application/octet-stream")),
    (b"FLV\1", FileType("video", "flv", "video/x-flv")),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", FileType("video", "wmv", "video/x-ms-wmv")),
    (b"\0\0\1\xba", FileType("video", "mpg", "video/mpeg")),
    (b"\0\0\1\xb3", FileType("video", "mpg", "video/mpeg")),
    (b"ID3", FileType("audio", "mp3", "audio/mpeg", is_inline=True)),
    (b"fLaC", FileType("audio", "flac", "audio/flac", is_inline=True)),
    (b"MThd", FileType("audio", "mid", "audio/midi")),
    (b".snd", FileType("audio", "au", "audio/basic")),
    (b"caff", FileType("audio", "caf", "audio/x-caf")),
    (b"#!AMR", FileType("audio", "amr", "audio/amr")),
    (b"wvpk", FileType("audio", "wv", "audio/x-wavpack")),
    (b"MAC ", FileType("audio", "ape", "audio/x-ape")),
    (b"DSD ", FileType("audio", "dsf", "audio/x-dsf")),
    (b"%PDF-", FileType("document", "pdf", "application/pdf")),
    (b"{\\rtf", FileType("document", "rtf", "application/rtf")),
    (b"%!PS", FileType("document", "ps", "application/postscript")),
    (b"AT&TFORM", FileType("document", "djvu", "image/vnd.djvu")),
    (b"wOF2", FileType("document", "woff2", "font/woff2")),
    (b"wOFF", FileType("document", "woff", "font/woff")),
    (b"\0\1\0\0", FileType("document", "ttf", "font/ttf")),
    (b"OTTO", FileType("document", "otf", "font/otf")),
    (b"ttcf", FileType("document", "ttc", "font/collection")),
    (b"PK\x03\x04", FileType("archive", "zip", "application/zip")),
    (b"PK\x05\x06", FileType("archive", "zip", "application/zip")),
    (b"\x1f\x8b", FileType("archive", "gz", "application/gzip")),
    (b"BZh", FileType("archive", "bz2", "application/x-bzip2")),
    (b"\xfd7zXZ\0", FileType("archive", "xz", "application/x-xz")),
    (b"\x28\xb5\x2f\xfd", FileType("archive", "zst", "application/zstd")),
    (b"\x04\x22\x4d\x18", FileType("archive", "lz4", "application/x-lz4")),
    (b"7z\xbc\xaf\x27\x1c", FileType("archive", "7z", "application/x-7z-compressed")),
    (b"Rar!\x1a\x07", FileType("archive", "rar", "application/vnd.rar")),
    (b"!<arch>\n", FileType("archive", "a", "application/octet-stream")),
    (b"glTF", FileType("model", "glb", "model/gltf-binary")),
    (b"ply\n", FileType("model", "ply", "application/octet-stream")),
    (b"ply\r\n", FileType("model", "ply", "application/octet-stream")),
    (b"Kaydara FBX Binary", FileType("model", "fbx", "application/octet-stream")),
    (b"BLENDER", FileType("model", "blend", "application/octet-stream")),
    (b"PXR-USDC", FileType("model", "usdc", "application/octet-stream")),
    (b"\x93NUMPY", FileType("model", "npy", "application/octet-stream")),
    (b"GGUF", FileType("model", "gguf", "application/octet-stream")),
    (b"\x89HDF\r\n\x1a\n", FileType("model", "h5", "application/x-hdf5")),
    (b"PAR1", FileType("archive", "parquet", "application/vnd.apache.parquet")),
    (b"ARROW1", FileType("archive", "arrow", "application/vnd.apache.arrow.file")),
    (b"Obj\1", FileType("archive", "avro", "application/octet-stream")),
    (b"SQLite format 3\0", FileType("archive", "sqlite", "application/vnd.sqlite3")),
)
# These could begin a text, so what follows decides: text has neither control characters nor invalid UTF-8.
_PREFIXES_OF_WORDS = frozenset(
    {b"BZh", b"DDS ", b"DSD ", b"MAC ", b"GGUF", b"PAR1", b"OTTO", b"ttcf", b"ID3"}
)
_TYPES_BY_RIFF_FORMAT = {
    b"WEBP": FileType("image", "webp", "image/webp", is_inline=True),
    b"WAVE": FileType("audio", "wav", "audio/wav", is_inline=True),
    b"AVI ": FileType("video", "avi", "video/x-msvideo"),
}
_AVIF = FileType("image", "avif", "image/avif", is_inline=True)
_HEIC = FileType("image", "heic", "image/heic")
_HEIC_SEQUENCE = FileType("image", "heics", "image/heic-sequence")
_3GP = FileType("video", "3gp", "video/3gpp")
_3G2 = FileType("video", "3g2", "video/3gpp2")
# ISO/IEC 14496-12 and 23008-12, and the registry at mp4ra.org.
_TYPES_BY_BRAND = {
    b"avif": _AVIF,
    b"avis": _AVIF,
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis"), _HEIC),
    **dict.fromkeys((b"hevc", b"hevx", b"hevm", b"hevs"), _HEIC_SEQUENCE),
    b"mif1": FileType("image", "heif", "image/heif"),
    b"msf1": FileType("image", "heifs", "image/heif-sequence"),
    b"crx ": FileType("image", "cr3", "image/x-canon-cr3"),
    **dict.fromkeys((b"M4A ", b"M4P ", b"F4A "), FileType("audio", "m4a", "audio/mp4", is_inline=True)),
    **dict.fromkeys((b"M4B ", b"F4B "), FileType("audio", "m4b", "audio/mp4", is_inline=True)),
    **dict.fromkeys((b"M4V ", b"M4VH", b"M4VP"), FileType("video", "m4v", "video/mp4", is_inline=True)),
    **dict.fromkeys((b"isom", b"avc1", b"dash", b"MSNV", b"mmp4", b"F4V "), _MP4),
    b"qt  ": FileType("video", "mov", "video/quicktime"),
}
_TYPES_BY_BRAND_START = {
    b"3gp": _3GP,
    b"3gr": _3GP,
    b"3gs": _3GP,
    b"3ge": _3GP,
    b"3g2": _3G2,
    b"mp4": _MP4,
    b"iso": _MP4,
}
_MAX_SAFETENSORS_HEADER_BYTES = 1 << 32
# The sizes of the known versions of the bitmap header.
_BITMAP_HEADER_SIZES = frozenset({12, 40, 52, 56, 64, 108, 124})
# Frame headers: sync, version, layer III with a bit rate (ISO/IEC 11172-3); sync, version, layer 0 (ISO/IEC
# 13818-7).
_MPEG_AUDIO_FRAME = re.compile(rb"\xff[\xe2\xe3\xf2\xf3\xfa\xfb][\x10-\xef]", re.DOTALL)
_AAC_FRAME = re.compile(rb"\xff[\xf0\xf1\xf8\xf9]", re.DOTALL)
_DOC_TYPE = re.compile(rb"\x42\x82[\x81-\x8f](webm|matroska)")
_TRANSPORT_PACKET_BYTES = 188
# The start of a JSON object or array; a bracket alone may begin any text, such as "[Intro]".
_JSON_START = re.compile(rb'\{\s*["}]|\[\s*(?:["\[\]{0-9-]|true|false|null)')
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
    if head[4:8] == b"ftyp":
        return _detect_iso_media(head)
    if _is_safetensors(head):
        return _SAFETENSORS
    for prefix, file_type in _TYPES_BY_PREFIX:
        if head.startswith(prefix) and not _is_text_after_all(prefix, head):
            return file_type
    return _detect_container(head) or _detect_text(head) or _UNKNOWN


def _is_safetensors(head: bytes) -> bool:
    """Tell by the size of the JSON header before it. Some sizes are the signatures of other formats."""
    return head[8:10] == b'{"' and int.from_bytes(head[:8], "little") < _MAX_SAFETENSORS_HEADER_BYTES


def _is_text_after_all(prefix: bytes, head: bytes) -> bool:
    if prefix == b"BM":
        return not _is_bitmap(head)
    return prefix in _PREFIXES_OF_WORDS and len(head) > len(prefix) and _decode_text(head) is not None


def _is_bitmap(head: bytes) -> bool:
    """Tell a bitmap from text that begins with "BM": by four reserved zero bytes and a known header size."""
    header_size = int.from_bytes(head[14:18], "little")
    return head[6:10] == b"\0\0\0\0" and header_size in _BITMAP_HEADER_SIZES


def _detect_container(head: bytes) -> FileType | None:
    if head[:4] in {b"RIFF", b"RF64"}:
        return _TYPES_BY_RIFF_FORMAT.get(head[8:12])
    if head[:4] == b"FORM" and head[8:12] in {b"AIFF", b"AIFC"}:
        return _AIFF
    if head.startswith(b"\x1a\x45\xdf\xa3"):
        doc_type = _DOC_TYPE.search(head)
        return _MATROSKA if doc_type is not None and doc_type[1] == b"matroska" else _WEBM
    if head.startswith(b"OggS"):
        return _OGG_VIDEO if b"\x80theora" in head else _OGG
    return _detect_frames(head)


def _detect_frames(head: bytes) -> FileType | None:
    """Detect formats whose files do not begin with a signature of their own."""
    if head[257:262] == b"ustar":
        return _TAR
    if len(head) > 2 * _TRANSPORT_PACKET_BYTES and set(head[::_TRANSPORT_PACKET_BYTES]) == {0x47}:
        return _MPEG_TS
    if _AAC_FRAME.match(head):
        return _AAC
    return _MPEG_AUDIO if _MPEG_AUDIO_FRAME.match(head) else None


def _detect_iso_media(head: bytes) -> FileType:
    """Detect by the major brand; if that is general or not known, by a compatible one."""
    size = min(int.from_bytes(head[:4], "big"), 256)
    compatible = [head[start : start + 4] for start in range(16, size, 4)]
    brand = head[8:12]
    if brand in {b"mif1", b"msf1"}:
        specific = [_find_brand(other) for other in compatible if other not in {b"mif1", b"msf1"}]
        return next(
            (found for found in specific if found is not None and found.kind == "image"),
            _TYPES_BY_BRAND[brand],
        )
    known = (_find_brand(other) for other in (brand, *compatible))
    return next((found for found in known if found is not None), _UNKNOWN)


def _find_brand(brand: bytes) -> FileType | None:
    return _TYPES_BY_BRAND.get(brand) or _TYPES_BY_BRAND_START.get(brand[:3])


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
    return JSON if _JSON_START.match(start) else TEXT


def _decode_text(head: bytes) -> bytes | None:
    """Return the text as UTF-8 without byte order mark, or None for binary data.

    A character that is cut off at the end of the head does not make it binary.
    """
    for byte_order_mark, encoding in ((b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be")):
        if head.startswith(byte_order_mark):
            try:
                text = head[2 : len(head) // 2 * 2].decode(encoding)
            except UnicodeDecodeError as error:
                if error.reason != "unexpected end of data":
                    return None
                text = head[2 : 2 + error.start].decode(encoding)
            utf8 = text.encode()
            return None if _BINARY_CHARACTERS.search(utf8) else utf8
    head = head.removeprefix(b"\xef\xbb\xbf")
    if _BINARY_CHARACTERS.search(head):
        return None
    try:
        head.decode()
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3 or error.reason != "unexpected end of data":
            return None
    return head
