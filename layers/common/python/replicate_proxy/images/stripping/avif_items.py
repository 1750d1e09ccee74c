"""The items that a meta box tells of (pictures, EXIF, XMP) and where in the file their bytes are.

ISO/IEC 14496-12, sections 8.11.3 (iloc) and 8.11.6 (iinf); ISO/IEC 23008-12, annex A.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from replicate_proxy.images.stripping.boxes import Box, Cursor, Range, boxes
from replicate_proxy.images.stripping.errors import UnknownStructureError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Item", "items"]

_NUMBER_BYTES = frozenset({0, 4, 8})
_IN_FILE, _IN_IDAT = 0, 1
# How many bytes an item's number has, by the box's version.
_INFE_NUMBER_BYTES = {2: 2, 3: 4}
_ILOC_NUMBER_BYTES = {0: 2, 1: 2, 2: 4}


@dataclass(frozen=True)
class Item:
    """`kind` is the item's type (b"av01", b"Exif", b"mime", …); its bytes are the ranges joined."""

    kind: bytes
    ranges: tuple[Range, ...]


def items(data: bytes, meta: Box) -> Iterator[Item]:
    """Every item that has bytes. Raises UnknownStructureError, also for bytes in another file or item."""
    children = {box.kind: box for box in boxes(data, meta.full_body, meta.end)}
    if b"iloc" not in children:
        return
    kinds = dict(_kinds(data, children[b"iinf"])) if b"iinf" in children else {}
    idat = children.get(b"idat")
    for number, ranges in _locations(children[b"iloc"].cursor(data), idat.body if idat else None):
        if any(start >= end for start, end in ranges):
            raise UnknownStructureError
        yield Item(kinds.get(number, b""), ranges)


def _kinds(data: bytes, iinf: Box) -> Iterator[tuple[int, bytes]]:
    cursor = iinf.cursor(data)
    version = cursor.take(4)[0]
    cursor.number(2 if version == 0 else 4)
    for entry in boxes(data, cursor.at, iinf.end):
        fields = entry.cursor(data)
        version = fields.take(4)[0]
        if entry.kind != b"infe" or version not in _INFE_NUMBER_BYTES:
            raise UnknownStructureError
        number = fields.number(_INFE_NUMBER_BYTES[version])
        fields.take(2)
        yield number, fields.take(4)


def _locations(cursor: Cursor, idat: int | None) -> Iterator[tuple[int, tuple[Range, ...]]]:
    version = cursor.take(4)[0]
    if version not in _ILOC_NUMBER_BYTES:
        raise UnknownStructureError
    number_bytes = _ILOC_NUMBER_BYTES[version]
    sizes = [half for byte in cursor.take(2) for half in (byte >> 4, byte & 0x0F)]
    offset_bytes, length_bytes, base_bytes, index_bytes = sizes
    if version == 0:
        index_bytes = 0
    if not length_bytes or not _NUMBER_BYTES.issuperset((*sizes[:3], index_bytes)):
        raise UnknownStructureError
    for _ in range(cursor.number(number_bytes)):
        number = cursor.number(number_bytes)
        method = cursor.number(2) & 0x0F if version else _IN_FILE
        origin = _origin(method, idat)
        if cursor.number(2):
            # Its bytes are in another file (data reference index).
            raise UnknownStructureError
        origin += cursor.number(base_bytes)
        ranges = []
        for _ in range(cursor.number(2)):
            cursor.take(index_bytes)
            start = origin + cursor.number(offset_bytes)
            ranges.append((start, start + cursor.number(length_bytes)))
        yield number, tuple(ranges)


def _origin(method: int, idat: int | None) -> int:
    if method == _IN_FILE:
        return 0
    if method == _IN_IDAT and idat is not None:
        return idat
    raise UnknownStructureError
