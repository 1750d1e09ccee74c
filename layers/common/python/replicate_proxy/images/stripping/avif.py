"""Which bytes of an AVIF file are needed to draw it, and which are not.

ISO/IEC 14496-12, table 1 (which box stands in which); ISO/IEC 23008-12, sections 6.5 (properties) and 9
(items).

The items that a meta box tells of (pictures, EXIF, XMP) and where in the file their bytes are.

ISO/IEC 14496-12, sections 8.11.3 (iloc) and 8.11.6 (iinf); ISO/IEC 23008-12, annex A.

Where in the file the frames of an image sequence are: ISO/IEC 14496-12, section 8.7 (stsz, stsc, stco).

AVIF without its metadata: ISO/IEC 14496-12 (boxes), ISO/IEC 23008-12 (items and sequences of images).

Nothing is taken out and nothing moves, since offsets all over the file tell where the pixels are: what is not
needed to draw becomes free space, and what items of metadata say is written over.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from itertools import islice
from typing import TYPE_CHECKING, Final

from replicate_proxy.images.stripping.boxes import Box, Cursor, Range, boxes
from replicate_proxy.images.stripping.errors import UnknownStructureError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


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


# Far more frames than are ever decoded; a table that names more is there to cost time.
_MOST_SAMPLES = 100_000


def chunks(data: bytes, stbl: Box) -> Iterator[Range]:
    """Each chunk of samples of a sample table. Raises UnknownStructureError."""
    tables = {box.kind: box for box in boxes(data, stbl.body, stbl.end)}
    if not tables.keys() & {b"stco", b"co64"} or not tables.keys() >= {b"stsz", b"stsc"}:
        raise UnknownStructureError
    sizes = iter(_sizes(data, tables[b"stsz"]))
    runs = _runs(data, tables[b"stsc"])
    samples = 0
    for number, start in enumerate(_offsets(data, tables), 1):
        samples = runs.get(number, samples)
        yield start, start + sum(islice(sizes, samples))


def _sizes(data: bytes, stsz: Box) -> tuple[int, ...]:
    cursor = stsz.cursor(data)
    cursor.take(4)
    same, count = cursor.number(4), cursor.number(4)
    if count > _MOST_SAMPLES:
        raise UnknownStructureError
    return (same,) * count if same else cursor.numbers(count)


def _runs(data: bytes, stsc: Box) -> dict[int, int]:
    """Samples in each chunk, by the first chunk that has as many."""
    cursor = stsc.cursor(data)
    cursor.take(4)
    table = cursor.numbers(3 * cursor.number(4))
    return dict(zip(table[::3], table[1::3], strict=True))


def _offsets(data: bytes, tables: dict[bytes, Box]) -> Iterator[int]:
    wide = b"co64" in tables
    cursor = tables[b"co64" if wide else b"stco"].cursor(data)
    cursor.take(4)
    for _ in range(cursor.number(4)):
        yield cursor.number(8 if wide else 4)


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
