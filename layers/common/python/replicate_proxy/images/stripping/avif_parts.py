"""Which bytes of an AVIF file are needed to draw it, and which are not.

ISO/IEC 14496-12, table 1 (which box stands in which); ISO/IEC 23008-12, sections 6.5 (properties) and 9
(items).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Final

from replicate_proxy.images.stripping.avif_items import items
from replicate_proxy.images.stripping.avif_samples import chunks
from replicate_proxy.images.stripping.boxes import Box, Range, boxes
from replicate_proxy.images.stripping.errors import UnknownStructureError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Part", "Role", "parts"]

_FILE: Final = b""
# By the box they stand in (the file itself is nameless): the boxes that a picture is drawn from.
_NEEDED: Final = {
    _FILE: {b"ftyp", b"meta", b"moov", b"mdat"},
    b"meta": {b"hdlr", b"pitm", b"iloc", b"iinf", b"iref", b"iprp", b"idat", b"ipro", b"dinf", b"grpl"},
    b"iprp": {b"ipco", b"ipma"},
    b"moov": {b"mvhd", b"trak", b"mvex"},
    b"trak": {b"tkhd", b"tref", b"trgr", b"edts", b"meta", b"mdia"},
    b"mdia": {b"mdhd", b"hdlr", b"minf", b"elng"},
    b"minf": {b"vmhd", b"nmhd", b"smhd", b"dinf", b"stbl"},
}
# Pictures may be told of in these as well (fragments, minimised images), and no decoder of ours reads them.
_NOT_KNOWN: Final = frozenset({b"moof", b"mini"})
# Creation and modification time come first in these.
_TIMED: Final = frozenset({b"mvhd", b"tkhd", b"mdhd"})
# Properties go by their number, so none may vanish: name and description, alternative text, times.
_TELLING: Final = frozenset({b"uuid", b"udes", b"altt", b"crtt", b"mdft"})
_UUID_BYTES: Final = 16


class Role(IntEnum):
    """What is to become of some bytes, in the order in which it is done."""

    STRUCTURE = 0
    DRAWN = 1
    TYPE = 2
    CLEARED = 3
    TEXT = 4
    EXIF = 5
    TAIL = 6

    @property
    def goes(self) -> bool:
        return self >= Role.TYPE


_METADATA: Final = {b"Exif": Role.EXIF, b"mime": Role.TEXT, b"uri ": Role.CLEARED}


@dataclass(frozen=True)
class Part:
    """`TYPE` are the four bytes of a box's type that make it free space; `TAIL` lies behind all boxes."""

    role: Role
    ranges: tuple[Range, ...]


def parts(source: bytes) -> Iterator[Part]:
    """Every byte that goes and, beside what belongs to nobody, every one that stays. Raises
    UnknownStructureError.
    """
    end = 0
    for box in _top_level(source):
        if box.kind in _NOT_KNOWN:
            raise UnknownStructureError
        yield from _of_box(source, box, _FILE)
        end = box.end
    if end < len(source):
        yield Part(Role.TAIL, ((end, len(source)),))


def _top_level(source: bytes) -> Iterator[Box]:
    """Boxes up to where none begins; a needed one must be whole."""
    at = 0
    while at < len(source):
        try:
            box = next(boxes(source, at, len(source)))
        except UnknownStructureError:
            if source[at + 4 : at + 8] in _NEEDED[_FILE]:
                raise
            return
        yield box
        at = box.end


def _of_box(source: bytes, box: Box, parent: bytes) -> Iterator[Part]:
    if box.kind not in _NEEDED[parent]:
        yield Part(Role.TYPE, ((box.start + 4, box.start + 8),))
        yield Part(Role.CLEARED, ((box.body, box.end),))
    elif box.kind in _NEEDED:
        first = box.full_body if box.kind == b"meta" else box.body
        yield Part(Role.STRUCTURE, ((box.start, first),))
        for child in boxes(source, first, box.end):
            yield from _of_box(source, child, box.kind)
        if box.kind == b"meta":
            yield from _of_items(source, box)
    elif box.kind in _TIMED:
        yield from _of_times(source, box)
    elif box.kind == b"ipco":
        yield from _of_properties(source, box)
    elif box.kind in {b"mdat", b"idat"}:
        yield Part(Role.STRUCTURE, ((box.start, box.body),))
    else:
        yield Part(Role.STRUCTURE, ((box.start, box.end),))
        if box.kind == b"stbl":
            yield Part(Role.DRAWN, tuple(chunks(source, box)))


def _of_items(source: bytes, meta: Box) -> Iterator[Part]:
    for item in items(source, meta):
        role = _METADATA.get(item.kind, Role.DRAWN)
        if role.goes and any(end > len(source) for _, end in item.ranges):
            raise UnknownStructureError
        yield Part(role, item.ranges)


def _of_times(source: bytes, box: Box) -> Iterator[Part]:
    version = box.cursor(source).number(1)
    end = box.full_body + (16 if version == 1 else 8)
    if end > box.end:
        raise UnknownStructureError
    yield Part(Role.CLEARED, ((box.full_body, end),))
    yield Part(Role.STRUCTURE, ((box.start, box.full_body), (end, box.end)))


def _of_properties(source: bytes, ipco: Box) -> Iterator[Part]:
    yield Part(Role.STRUCTURE, ((ipco.start, ipco.body),))
    for box in boxes(source, ipco.body, ipco.end):
        told = box.body + (_UUID_BYTES if box.kind == b"uuid" else 0)
        kept = min(told, box.end) if box.kind in _TELLING else box.end
        yield Part(Role.STRUCTURE, ((box.start, kept),))
        yield Part(Role.CLEARED, ((kept, box.end),))
