"""Remove metadata from AVIF files, still images and image sequences, without moving a byte.

Offsets all over an AVIF file say where its pixels are, so nothing is taken out: every byte is classified by
what it is for, boxes that no image is drawn from become free space, and metadata is overwritten. From top to
bottom this module strips a file, classifies the bytes of its boxes, reads where items (images, EXIF, XMP)
are, and reads where the frames of a sequence are.

The structure is that of ISO/IEC 14496-12 (boxes; table 1 has the box types and their containers) and ISO/IEC
23008-12 (items and image sequences).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from itertools import islice
from typing import TYPE_CHECKING, Final

from replicate_proxy.images.stripping import UnknownStructureError
from replicate_proxy.images.stripping.boxes import Box, ByteRange, Cursor, read_boxes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


class Purpose(IntEnum):
    """What bytes are for, and so what is done with them. Regions are overwritten in this order."""

    STRUCTURE = 0
    """Kept: headers and tables."""
    PIXELS = 1
    """Kept: image data."""
    BOX_TYPE = 2
    """The type of a box that becomes free space."""
    UNUSED = 3
    """Set to zero."""
    TEXT = 4
    """A text item (XMP among them), overwritten with spaces."""
    EXIF = 5
    """An EXIF item, overwritten with the EXIF block to keep, or an empty one."""
    TRAILER = 6
    """What follows the last box, cut off."""

    @property
    def is_kept(self) -> bool:
        return self <= Purpose.PIXELS


@dataclass(frozen=True)
class Region:
    """Bytes of one purpose, possibly in several ranges."""

    purpose: Purpose
    ranges: tuple[ByteRange, ...]


# A TIFF file of one empty directory: libavif refuses an image whose EXIF item does not begin with a TIFF
# header.
_EMPTY_TIFF: Final = b"MM\0*\0\0\0\x08\0\0\0\0\0\0"
# The distance from these four bytes to the TIFF header (ISO/IEC 23008-12, annex A.2.1).
_TIFF_HEADER_OFFSET: Final = b"\0\0\0\0"


def strip_avif(source: bytes, exif: bytes) -> bytes:
    """Return the file in its old length, less what follows the last box.

    `exif` replaces the old EXIF block if it fits there. Raises UnknownStructureError for a structure that is
    not known here, and if metadata and pixels share bytes.
    """
    regions = sorted(classify_bytes(source), key=lambda region: region.purpose)
    if not any(region.purpose is Purpose.PIXELS for region in regions) or _share_bytes(regions):
        raise UnknownStructureError
    data = bytearray(source)
    end = len(data)
    for region in regions:
        if region.purpose is Purpose.TRAILER:
            end = region.ranges[0][0]
        elif not region.purpose.is_kept:
            _overwrite(data, region, exif)
    return bytes(data[:end])


def _share_bytes(regions: Iterable[Region]) -> bool:
    """Return whether any byte is both kept and overwritten."""
    ranges = sorted(
        (start, end, region.purpose.is_kept) for region in regions for start, end in region.ranges
    )
    furthest_end = {True: 0, False: 0}
    for start, end, is_kept in ranges:
        if start < min(end, furthest_end[not is_kept]):
            return True
        furthest_end[is_kept] = max(furthest_end[is_kept], end)
    return False


def _overwrite(data: bytearray, region: Region, exif: bytes) -> None:
    size = sum(end - start for start, end in region.ranges)
    content = _build_replacement(region.purpose, exif, size)
    position = 0
    for start, end in region.ranges:
        data[start:end] = content[position : position + end - start]
        position += end - start


def _build_replacement(purpose: Purpose, exif: bytes, size: int) -> bytes:
    match purpose:
        case Purpose.BOX_TYPE:
            return b"free"
        case Purpose.TEXT:
            return b" " * size
        case Purpose.EXIF:
            block = _TIFF_HEADER_OFFSET + (exif.removeprefix(b"Exif\0\0") or _EMPTY_TIFF)
            if len(block) > size:
                block = _TIFF_HEADER_OFFSET + _EMPTY_TIFF
            return block.ljust(size, b"\0")[:size]
        case _:
            return bytes(size)


# Classification: every byte that is overwritten, and all bytes that must not be.

_FILE: Final = b""
# The boxes that an image is drawn from, by the box that contains them (none for the file itself).
_NEEDED_BOXES: Final = {
    _FILE: {b"ftyp", b"meta", b"moov", b"mdat"},
    b"meta": {b"hdlr", b"pitm", b"iloc", b"iinf", b"iref", b"iprp", b"idat", b"ipro", b"dinf", b"grpl"},
    b"iprp": {b"ipco", b"ipma"},
    b"moov": {b"mvhd", b"trak", b"mvex"},
    b"trak": {b"tkhd", b"tref", b"trgr", b"edts", b"meta", b"mdia"},
    b"mdia": {b"mdhd", b"hdlr", b"minf", b"elng"},
    b"minf": {b"vmhd", b"nmhd", b"smhd", b"dinf", b"stbl"},
}
# Movie fragments and minimized images may locate pixels too; Pillow's decoder reads neither.
_UNSUPPORTED_BOXES: Final = frozenset({b"moof", b"mini"})
# These begin with creation and modification time.
_BOXES_WITH_TIMES: Final = frozenset({b"mvhd", b"tkhd", b"mdhd"})
# User data, name and description, alternative text, creation and modification time. Properties are referred
# to by index, so their boxes stay and only their bodies are overwritten.
_METADATA_PROPERTIES: Final = frozenset({b"uuid", b"udes", b"altt", b"crtt", b"mdft"})
_UUID_BYTES: Final = 16
_METADATA_ITEMS: Final = {b"Exif": Purpose.EXIF, b"mime": Purpose.TEXT, b"uri ": Purpose.UNUSED}


def classify_bytes(source: bytes) -> Iterator[Region]:
    """Yield every region to overwrite, and every region to keep that overwriting could damage.

    Raises UnknownStructureError.
    """
    end = 0
    for box in _read_top_level_boxes(source):
        if box.kind in _UNSUPPORTED_BOXES:
            raise UnknownStructureError
        yield from _classify_box(source, box, _FILE)
        end = box.end
    if end < len(source):
        yield Region(Purpose.TRAILER, ((end, len(source)),))


def _read_top_level_boxes(source: bytes) -> Iterator[Box]:
    """Yield boxes until no valid one follows. Raises UnknownStructureError if that is a needed one."""
    position = 0
    while position < len(source):
        try:
            box = next(read_boxes(source, position, len(source)))
        except UnknownStructureError:
            if source[position + 4 : position + 8] in _NEEDED_BOXES[_FILE]:
                raise
            return
        yield box
        position = box.end


def _classify_box(source: bytes, box: Box, parent: bytes) -> Iterator[Region]:
    if box.kind not in _NEEDED_BOXES[parent]:
        yield Region(Purpose.BOX_TYPE, ((box.start + 4, box.start + 8),))
        yield Region(Purpose.UNUSED, ((box.body, box.end),))
    elif box.kind in _NEEDED_BOXES:
        children_start = box.full_box_body if box.kind == b"meta" else box.body
        yield Region(Purpose.STRUCTURE, ((box.start, children_start),))
        for child in read_boxes(source, children_start, box.end):
            yield from _classify_box(source, child, box.kind)
        if box.kind == b"meta":
            yield from _classify_items(source, box)
    elif box.kind in _BOXES_WITH_TIMES:
        yield from _classify_times(source, box)
    elif box.kind == b"ipco":
        yield from _classify_properties(source, box)
    elif box.kind in {b"mdat", b"idat"}:
        # Items and samples say what the body is.
        yield Region(Purpose.STRUCTURE, ((box.start, box.body),))
    else:
        yield Region(Purpose.STRUCTURE, ((box.start, box.end),))
        if box.kind == b"stbl":
            yield Region(Purpose.PIXELS, tuple(read_sample_chunks(source, box)))


def _classify_items(source: bytes, meta: Box) -> Iterator[Region]:
    for item in read_items(source, meta):
        purpose = _METADATA_ITEMS.get(item.kind, Purpose.PIXELS)
        if not purpose.is_kept and any(end > len(source) for _, end in item.ranges):
            raise UnknownStructureError
        yield Region(purpose, item.ranges)


def _classify_times(source: bytes, box: Box) -> Iterator[Region]:
    version = box.open(source).read_number(1)
    times_end = box.full_box_body + (16 if version == 1 else 8)
    if times_end > box.end:
        raise UnknownStructureError
    yield Region(Purpose.UNUSED, ((box.full_box_body, times_end),))
    yield Region(Purpose.STRUCTURE, ((box.start, box.full_box_body), (times_end, box.end)))


def _classify_properties(source: bytes, ipco: Box) -> Iterator[Region]:
    yield Region(Purpose.STRUCTURE, ((ipco.start, ipco.body),))
    for box in read_boxes(source, ipco.body, ipco.end):
        kept_end = box.end
        if box.kind in _METADATA_PROPERTIES:
            type_end = box.body + (_UUID_BYTES if box.kind == b"uuid" else 0)
            kept_end = min(type_end, box.end)
        yield Region(Purpose.STRUCTURE, ((box.start, kept_end),))
        yield Region(Purpose.UNUSED, ((kept_end, box.end),))


# Items: ISO/IEC 14496-12, sections 8.11.3 (iloc: where they are) and 8.11.6 (iinf: of which type they are).

_OFFSET_FIELD_BYTES: Final = frozenset({0, 4, 8})
_IN_FILE, _IN_IDAT = 0, 1
# The size of an item ID, by the version of the box.
_INFE_ID_BYTES: Final = {2: 2, 3: 4}
_ILOC_ID_BYTES: Final = {0: 2, 1: 2, 2: 4}


@dataclass(frozen=True)
class Item:
    """An item's type (b"av01", b"Exif", b"mime", …) and the ranges that hold its bytes."""

    kind: bytes
    ranges: tuple[ByteRange, ...]


def read_items(data: bytes, meta: Box) -> Iterator[Item]:
    """Yield every item that has bytes.

    Raises UnknownStructureError, also for an item whose bytes are in another file or item.
    """
    children = {box.kind: box for box in read_boxes(data, meta.full_box_body, meta.end)}
    if b"iloc" not in children:
        return
    kinds = dict(_read_item_kinds(data, children[b"iinf"])) if b"iinf" in children else {}
    idat = children.get(b"idat")
    locations = _read_item_locations(children[b"iloc"].open(data), idat.body if idat else None)
    for item_id, ranges in locations:
        if any(start >= end for start, end in ranges):
            raise UnknownStructureError
        yield Item(kinds.get(item_id, b""), ranges)


def _read_item_kinds(data: bytes, iinf: Box) -> Iterator[tuple[int, bytes]]:
    """Yield each item's ID and type."""
    cursor = iinf.open(data)
    version = cursor.read(4)[0]
    cursor.read_number(2 if version == 0 else 4)
    for infe in read_boxes(data, cursor.position, iinf.end):
        fields = infe.open(data)
        version = fields.read(4)[0]
        if infe.kind != b"infe" or version not in _INFE_ID_BYTES:
            raise UnknownStructureError
        item_id = fields.read_number(_INFE_ID_BYTES[version])
        fields.read(2)
        yield item_id, fields.read(4)


def _read_item_locations(iloc: Cursor, idat_start: int | None) -> Iterator[tuple[int, tuple[ByteRange, ...]]]:
    """Yield each item's ID and ranges."""
    version = iloc.read(4)[0]
    if version not in _ILOC_ID_BYTES:
        raise UnknownStructureError
    id_bytes = _ILOC_ID_BYTES[version]
    sizes = [half for byte in iloc.read(2) for half in (byte >> 4, byte & 0x0F)]
    offset_bytes, length_bytes, base_bytes, index_bytes = sizes
    if version == 0:
        index_bytes = 0
    if not length_bytes or not _OFFSET_FIELD_BYTES.issuperset((*sizes[:3], index_bytes)):
        raise UnknownStructureError
    for _ in range(iloc.read_number(id_bytes)):
        item_id = iloc.read_number(id_bytes)
        method = iloc.read_number(2) & 0x0F if version else _IN_FILE
        base = _find_base(method, idat_start)
        if iloc.read_number(2):
            # A data reference index: the bytes are in another file.
            raise UnknownStructureError
        base += iloc.read_number(base_bytes)
        ranges = []
        for _ in range(iloc.read_number(2)):
            iloc.read(index_bytes)
            start = base + iloc.read_number(offset_bytes)
            ranges.append((start, start + iloc.read_number(length_bytes)))
        yield item_id, tuple(ranges)


def _find_base(method: int, idat_start: int | None) -> int:
    """Return the file offset that an item's offsets count from."""
    if method == _IN_FILE:
        return 0
    if method == _IN_IDAT and idat_start is not None:
        return idat_start
    raise UnknownStructureError


# Image sequences: ISO/IEC 14496-12, section 8.7 (stsz: sizes, stsc: samples a chunk, stco and co64: offsets).

# Far more frames than are ever decoded: a larger table would only cost time.
_MAX_SAMPLES: Final = 100_000


def read_sample_chunks(data: bytes, stbl: Box) -> Iterator[ByteRange]:
    """Yield the range of each chunk of samples (frames). Raises UnknownStructureError."""
    tables = {box.kind: box for box in read_boxes(data, stbl.body, stbl.end)}
    if not tables.keys() & {b"stco", b"co64"} or not tables.keys() >= {b"stsz", b"stsc"}:
        raise UnknownStructureError
    sample_sizes = iter(_read_sample_sizes(data, tables[b"stsz"]))
    changes = _read_samples_per_chunk(data, tables[b"stsc"])
    sample_count = 0
    for chunk_number, start in enumerate(_read_chunk_offsets(data, tables), 1):
        sample_count = changes.get(chunk_number, sample_count)
        yield start, start + sum(islice(sample_sizes, sample_count))


def _read_sample_sizes(data: bytes, stsz: Box) -> tuple[int, ...]:
    cursor = stsz.open(data)
    cursor.read(4)
    common_size, count = cursor.read_number(4), cursor.read_number(4)
    if count > _MAX_SAMPLES:
        raise UnknownStructureError
    return (common_size,) * count if common_size else cursor.read_numbers(count)


def _read_samples_per_chunk(data: bytes, stsc: Box) -> dict[int, int]:
    """Return samples per chunk, by chunk number; each number applies up to the next chunk listed."""
    cursor = stsc.open(data)
    cursor.read(4)
    table = cursor.read_numbers(3 * cursor.read_number(4))
    return dict(zip(table[::3], table[1::3], strict=True))


def _read_chunk_offsets(data: bytes, tables: dict[bytes, Box]) -> Iterator[int]:
    has_64_bit_offsets = b"co64" in tables
    cursor = tables[b"co64" if has_64_bit_offsets else b"stco"].open(data)
    cursor.read(4)
    for _ in range(cursor.read_number(4)):
        yield cursor.read_number(8 if has_64_bit_offsets else 4)
