"""Read the structure of image files: chunks, segments, blocks and boxes. Nothing is decoded here.

Each module reads one container format, for all who need its parts: metadata removal, color, frames, texts.
Files are bytes or memory maps of files, so that large ones take no memory.
"""

from __future__ import annotations

import mmap

type Source = bytes | mmap.mmap
"""The content of a file."""


class UnknownStructureError(ValueError):
    """The file violates its standard or uses a part of it that is not supported here."""


def detect_format(source: Source) -> str:
    """Return the format that the signature names ("png", …), also of a file that cannot be decoded, or ""."""
    head = source[:12]
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if head.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "gif"
    if head.startswith(b"RIFF") and head[8:] == b"WEBP":
        return "webp"
    return "avif" if head[4:8] == b"ftyp" else ""
