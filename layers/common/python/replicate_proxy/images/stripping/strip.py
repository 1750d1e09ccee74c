"""Remove metadata from an image file of any supported format."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from replicate_proxy.images.stripping import UnknownStructureError
from replicate_proxy.images.stripping.avif import strip_avif
from replicate_proxy.images.stripping.gif import strip_gif
from replicate_proxy.images.stripping.jpeg import strip_jpeg
from replicate_proxy.images.stripping.png import strip_png
from replicate_proxy.images.stripping.webp import strip_webp

if TYPE_CHECKING:
    from collections.abc import Callable


_STRIPPERS: Final[dict[str, Callable[[bytes, bytes], bytes]]] = {
    "jpeg": strip_jpeg,
    "png": strip_png,
    "webp": strip_webp,
    # GIF cannot hold EXIF.
    "gif": lambda source, _exif: strip_gif(source),
    "avif": strip_avif,
}


def strip_metadata(source: bytes, format_name: str, *, exif: bytes = b"") -> bytes | None:
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
