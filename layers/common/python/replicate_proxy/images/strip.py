"""Metadata out of a file that is kept as it is, without touching its pixels: where it was taken is nobody's
business.

What follows the end of the image goes too, so that no second file travels inside.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from PIL import ExifTags, Image

from replicate_proxy.images.stripping.avif import strip_avif
from replicate_proxy.images.stripping.errors import UnknownStructureError
from replicate_proxy.images.stripping.simple_formats import strip_gif, strip_jpeg, strip_png, strip_webp

if TYPE_CHECKING:
    from collections.abc import Callable

    from replicate_proxy.images.task import ImageResult, ImageTask


_STRIPPERS: Final[dict[str, Callable[[bytes, bytes], bytes | None]]] = {
    "jpeg": strip_jpeg,
    "png": strip_png,
    "webp": strip_webp,
    "gif": lambda source, _exif: strip_gif(source),
    "avif": strip_avif,
}


def write_stripped(job: ImageTask, facts: ImageResult, *, exif: bytes, turned: int) -> ImageResult:
    """Writes the source without its metadata as the output; a file that has none is left to be stored as it
    is.
    """
    source = job.source.read_bytes()
    # Which way is up is a property of an AVIF item, which stays (ISO/IEC 23008-12, irot and imir).
    kept = exif if facts.source_format == "avif" else _small_exif(exif, turned)
    stripped = strip_metadata(source, facts.source_format, exif=kept)
    if stripped is None or stripped == source or len(stripped) > len(source):
        return facts
    job.output.write_bytes(stripped)
    return replace(facts, bytes_after=len(stripped), sha256=hashlib.sha256(stripped).hexdigest())


def strip_metadata(source: bytes, format_name: str, *, exif: bytes = b"") -> bytes | None:
    """The file with `exif` as its only metadata, where the format has room for it; None for a format or
    structure that is not taken apart.
    """
    stripper = _STRIPPERS.get(format_name)
    if stripper is None:
        return None
    try:
        return stripper(source, exif)
    except (IndexError, struct.error, UnknownStructureError):
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
