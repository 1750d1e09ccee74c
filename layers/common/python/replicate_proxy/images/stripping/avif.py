"""AVIF without its metadata: ISO/IEC 14496-12 (boxes), ISO/IEC 23008-12 (items and sequences of images).

Nothing is taken out and nothing moves, since offsets all over the file tell where the pixels are: what is not
needed to draw becomes free space, and what items of metadata say is written over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from replicate_proxy.images.stripping.avif_parts import Part, Role, parts
from replicate_proxy.images.stripping.errors import UnknownStructureError

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["strip_avif"]

# A TIFF file of one empty directory: libavif refuses a picture whose EXIF item does not begin with one.
_EMPTY_TIFF: Final = b"MM\0*\0\0\0\x08\0\0\0\0\0\0"
# ISO/IEC 23008-12, annex A.2.1: how far behind these four bytes the TIFF header is.
_HERE: Final = b"\0\0\0\0"


def strip_avif(source: bytes, exif: bytes) -> bytes:
    """As long as it was, less what follows the last box. `exif` takes the old block's place if it fits there.

    Raises UnknownStructureError for a file that is built in a way not known here, and where metadata and
    pixels share bytes.
    """
    found = sorted(parts(source), key=lambda part: part.role)
    if not any(part.role is Role.DRAWN for part in found) or _bytes_are_shared(found):
        raise UnknownStructureError
    data = bytearray(source)
    end = len(data)
    for part in found:
        if part.role is Role.TAIL:
            end = part.ranges[0][0]
        elif part.role.goes:
            _write(data, part, exif)
    return bytes(data[:end])


def _bytes_are_shared(found: Iterable[Part]) -> bool:
    """Whether any byte that stays is one that goes as well."""
    ranges = sorted((*one, part.role.goes) for part in found for one in part.ranges)
    reached = {True: 0, False: 0}
    for start, end, goes in ranges:
        if start < min(end, reached[not goes]):
            return True
        reached[goes] = max(reached[goes], end)
    return False


def _write(data: bytearray, part: Part, exif: bytes) -> None:
    room = sum(end - start for start, end in part.ranges)
    content = _content(part.role, exif, room)
    at = 0
    for start, end in part.ranges:
        data[start:end] = content[at : at + end - start]
        at += end - start


def _content(role: Role, exif: bytes, room: int) -> bytes:
    match role:
        case Role.TYPE:
            return b"free"
        case Role.TEXT:
            return b" " * room
        case Role.EXIF:
            kept = _HERE + exif.removeprefix(b"Exif\0\0") if exif else b""
            block = kept if kept and len(kept) <= room else _HERE + _EMPTY_TIFF
            return block.ljust(room, b"\0")[:room]
        case _:
            return bytes(room)
