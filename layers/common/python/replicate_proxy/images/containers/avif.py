"""Read where the parts of an AVIF file are: items (images, EXIF, XMP), and the frames of a sequence.

The structure is that of ISO/IEC 14496-12 (boxes) and ISO/IEC 23008-12 (items and image sequences).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Final

from replicate_proxy.images.containers import UnknownStructureError
from replicate_proxy.images.containers.boxes import Box, ByteRange, Cursor, read_boxes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from replicate_proxy.images.containers import Source


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


def read_file_items(source: Source) -> Iterator[Item]:
    """Yield every item of the file that has bytes. Raises UnknownStructureError."""
    for box in read_boxes(source, 0, len(source)):
        if box.kind == b"meta":
            yield from read_items(source, box)


def read_items(data: Source, meta: Box) -> Iterator[Item]:
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


def _read_item_kinds(data: Source, iinf: Box) -> Iterator[tuple[int, bytes]]:
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


def read_sample_chunks(data: Source, stbl: Box) -> Iterator[ByteRange]:
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


def _read_sample_sizes(data: Source, stsz: Box) -> tuple[int, ...]:
    cursor = stsz.open(data)
    cursor.read(4)
    common_size, count = cursor.read_number(4), cursor.read_number(4)
    if count > _MAX_SAMPLES:
        raise UnknownStructureError
    return (common_size,) * count if common_size else cursor.read_numbers(count)


def _read_samples_per_chunk(data: Source, stsc: Box) -> dict[int, int]:
    """Return samples per chunk, by chunk number; each number applies up to the next chunk listed."""
    cursor = stsc.open(data)
    cursor.read(4)
    table = cursor.read_numbers(3 * cursor.read_number(4))
    return dict(zip(table[::3], table[1::3], strict=True))


def _read_chunk_offsets(data: Source, tables: dict[bytes, Box]) -> Iterator[int]:
    has_64_bit_offsets = b"co64" in tables
    cursor = tables[b"co64" if has_64_bit_offsets else b"stco"].open(data)
    cursor.read(4)
    for _ in range(cursor.read_number(4)):
        yield cursor.read_number(8 if has_64_bit_offsets else 4)


# Color: ISO/IEC 14496-12, section 12.1.5 (colr); ISO/IEC 23008-12, section 9.3 (ipma: properties of items).

_NCLX: Final = b"nclx"


def read_color_codes(source: Source) -> tuple[int, int] | None:
    """Return primaries and transfer function (H.273) of the primary item or, without items, of the frames.

    None if the file does not say. Raises UnknownStructureError.
    """
    boxes = {box.kind: box for box in read_boxes(source, 0, len(source))}
    if b"meta" in boxes:
        properties = _read_primary_properties(source, boxes[b"meta"])
    else:
        properties = _read_sample_properties(source, boxes.get(b"moov"))
    for box in properties:
        if box.kind == b"colr":
            cursor = box.open(source)
            if cursor.read(4) == _NCLX:
                return cursor.read_number(2), cursor.read_number(2)
    return None


def _find_box(data: Source, box: Box, *path: bytes) -> Box | None:
    """Return the first box at that path of types below the box."""
    for kind in path:
        start = box.full_box_body if box.kind == b"meta" else box.body
        found = next((child for child in read_boxes(data, start, box.end) if child.kind == kind), None)
        if found is None:
            return None
        box = found
    return box


def _read_primary_properties(data: Source, meta: Box) -> list[Box]:
    primary, container = _find_box(data, meta, b"pitm"), _find_box(data, meta, b"iprp", b"ipco")
    associations = _find_box(data, meta, b"iprp", b"ipma")
    if primary is None or container is None or associations is None:
        return []
    cursor = primary.open(data)
    version = cursor.read(4)[0]
    primary_id = cursor.read_number(4 if version else 2)
    properties = list(read_boxes(data, container.body, container.end))
    indexes = dict(_read_associations(data, associations)).get(primary_id, ())
    return [properties[index - 1] for index in indexes if 0 < index <= len(properties)]


def _read_associations(data: Source, ipma: Box) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Yield each item's ID, and the indexes of its properties, which count from 1."""
    cursor = ipma.open(data)
    version, *_, flags = cursor.read(4)
    index_bytes = 2 if flags & 1 else 1
    # The highest bit says whether a decoder has to know the property.
    mask = (1 << (8 * index_bytes - 1)) - 1
    for _ in range(cursor.read_number(4)):
        item_id = cursor.read_number(4 if version else 2)
        count = cursor.read_number(1)
        yield item_id, tuple(cursor.read_number(index_bytes) & mask for _ in range(count))


# The fields of a sample entry before its boxes (ISO/IEC 14496-12, section 12.1.3), and of stsd before it.
_SAMPLE_ENTRY_BYTES, _STSD_BYTES = 78, 8


def _read_sample_properties(data: Source, moov: Box | None) -> list[Box]:
    stsd = _find_box(data, moov, b"trak", b"mdia", b"minf", b"stbl", b"stsd") if moov else None
    if stsd is None:
        return []
    entry = next(read_boxes(data, stsd.body + _STSD_BYTES, stsd.end), None)
    return list(read_boxes(data, entry.body + _SAMPLE_ENTRY_BYTES, entry.end)) if entry else []


# Repetition: ISO/IEC 14496-12, sections 8.2.2 (mvhd), 8.3.2 (tkhd) and 8.6.6 (elst: an edit that is repeated
# until the track ends), as the AVIF specification, section 4, applies them.

_REPEATED: Final = 1
# The distance from a box's body to its duration, by the box's type and version.
_DURATION_OFFSETS: Final = {(b"mvhd", 0): 16, (b"mvhd", 1): 24, (b"tkhd", 0): 20, (b"tkhd", 1): 28}


def read_plays(source: Source) -> int:
    """Return how often an image sequence is played, 0 for ever, also for a file that does not say."""
    try:
        edit, durations = _find_edit(source)
    except (UnknownStructureError, IndexError, struct.error):
        return 0
    if edit is None or not durations:
        return 0
    if not edit.is_repeated:
        return 1
    start, size = durations[-1]
    duration = int.from_bytes(source[start : start + size])
    if duration == (1 << 8 * size) - 1 or not edit.duration:
        return 0
    return max(1, -(-duration // edit.duration))


def set_plays(content: bytes, plays: int) -> bytes:
    """Return the sequence, which an encoder wrote to be played for ever, to be played that often.

    Raises UnknownStructureError.
    """
    edit, durations = _find_edit(content)
    if edit is None or not durations:
        raise UnknownStructureError
    data = bytearray(content)
    for start, size in durations:
        data[start : start + size] = (edit.duration * plays).to_bytes(size)
    data[edit.flags_position] = _REPEATED if plays > 1 else 0
    return bytes(data)


@dataclass(frozen=True)
class _Edit:
    is_repeated: bool
    duration: int
    flags_position: int


def _find_edit(source: Source) -> tuple[_Edit | None, list[ByteRange]]:
    """Return the track's edit, and position and size of the durations of movie and track."""
    moov = next((box for box in read_boxes(source, 0, len(source)) if box.kind == b"moov"), None)
    if moov is None:
        return None, []
    durations = []
    for path in ((b"mvhd",), (b"trak", b"tkhd")):
        header = _find_box(source, moov, *path)
        if header is None:
            return None, []
        version = source[header.body]
        start = header.body + _DURATION_OFFSETS[header.kind, min(version, 1)]
        durations.append((start, 8 if version else 4))
    elst = _find_box(source, moov, b"trak", b"edts", b"elst")
    if elst is None:
        return None, durations
    cursor = elst.open(source)
    version, *_, flags = cursor.read(4)
    cursor.read(4)
    return _Edit(bool(flags & _REPEATED), cursor.read_number(8 if version else 4), elst.body + 3), durations
