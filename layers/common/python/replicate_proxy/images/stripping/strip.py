"""Remove metadata from an image file of any supported format."""

from __future__ import annotations

import mmap
import struct
from typing import TYPE_CHECKING, Final

from replicate_proxy.images.containers import UnknownStructureError, detect_format
from replicate_proxy.images.stripping.avif import strip_avif
from replicate_proxy.images.stripping.gif import strip_gif
from replicate_proxy.images.stripping.jpeg import strip_jpeg
from replicate_proxy.images.stripping.png import strip_png
from replicate_proxy.images.stripping.webp import strip_webp

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from replicate_proxy.images.containers import Source
    from replicate_proxy.images.stripping.parts import StrippedFile


_STRIPPERS: Final[dict[str, Callable[[Source, bytes], StrippedFile]]] = {
    "jpeg": strip_jpeg,
    "png": strip_png,
    "webp": strip_webp,
    # GIF cannot hold EXIF.
    "gif": lambda source, _exif: strip_gif(source),
    "avif": strip_avif,
}


def strip_metadata(source: Source, format_name: str, *, exif: bytes = b"") -> StrippedFile | None:
    """Return the file with `exif` as its only metadata, or without any if the format has no room for it.

    Returns None for a format or a structure that is not known here.
    """
    stripper = _STRIPPERS.get(format_name)
    if stripper is None:
        return None
    try:
        return stripper(source, exif)
    except (IndexError, struct.error, UnknownStructureError):
        return None


def strip_file(path: Path, output: Path, *, exif: bytes = b"") -> bool | None:
    """Write the file without its metadata; return False instead if it has none.

    Returns None if it may have metadata, as its structure is not known. The format is found out by the first
    bytes. Raises OSError, MemoryError.
    """
    if not path.stat().st_size:
        return None
    with path.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as source:
        stripped = strip_metadata(source, detect_format(source), exif=exif)
        if stripped is None:
            return None
        if stripped.equals(source):
            return False
        with output.open("wb") as file:
            stripped.write(source, file)
        return True
