"""Remove metadata from AVIF files, still images and image sequences, without moving a byte.

Offsets all over an AVIF file say where its pixels are, so nothing is taken out: every byte is classified by
what it is for, boxes that no image is drawn from become free space, and metadata is overwritten.

The structure is that of ISO/IEC 14496-12 (boxes; table 1 has the box types and their containers) and ISO/IEC
23008-12 (items and image sequences).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Final

from replicate_proxy.images.containers import UnknownStructureError
from replicate_proxy.images.containers.avif import read_items, read_sample_chunks
from replicate_proxy.images.containers.boxes import Box, ByteRange, read_boxes
from replicate_proxy.images.stripping.parts import StrippedFile

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from replicate_proxy.images.containers import Source


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
    MEDIA_DATA = 6
    """The body of a box that other regions lie in; what lies in none of them is unused."""
    TRAILER = 7
    """What follows the last box, cut off."""

    @property
    def is_kept(self) -> bool:
        return self <= Purpose.PIXELS

    @property
    def is_overwritten(self) -> bool:
        return Purpose.PIXELS < self < Purpose.MEDIA_DATA


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


def strip_avif(source: Source, exif: bytes) -> StrippedFile:
    """Return the file in its old length, less what follows the last box.

    `exif` replaces the old EXIF block if it fits there. Raises UnknownStructureError for a structure that is
    not known here, and if metadata and pixels share bytes.
    """
    regions = list(classify_bytes(source))
    if not any(region.purpose is Purpose.PIXELS for region in regions) or _share_bytes(regions):
        raise UnknownStructureError
    trailers = (region.ranges[0][0] for region in regions if region.purpose is Purpose.TRAILER)
    overwritten = [region for region in regions if region.purpose.is_overwritten]
    overwritten.append(Region(Purpose.UNUSED, tuple(_find_unused_media(regions))))
    overwritten.sort(key=lambda region: region.purpose)
    patches = tuple(patch for region in overwritten for patch in _build_patches(region, exif))
    return StrippedFile(((0, next(trailers, len(source))),), patches)


def _share_bytes(regions: Iterable[Region]) -> bool:
    """Return whether any byte is both kept and overwritten."""
    ranges = sorted(
        (start, end, region.purpose.is_kept)
        for region in regions
        if region.purpose is not Purpose.MEDIA_DATA
        for start, end in region.ranges
    )
    furthest_end = {True: 0, False: 0}
    for start, end, is_kept in ranges:
        if start < min(end, furthest_end[not is_kept]):
            return True
        furthest_end[is_kept] = max(furthest_end[is_kept], end)
    return False


def _find_unused_media(regions: Iterable[Region]) -> Iterator[ByteRange]:
    """Yield the parts of media data that no item and no sample refers to, such as a deleted EXIF block."""
    ranges = sorted(
        (start, end, region.purpose is Purpose.MEDIA_DATA)
        for region in regions
        for start, end in region.ranges
    )
    used_end = media_end = 0
    for start, end, is_media in ranges:
        # Boxes do not overlap, so there is one box of media data at a time.
        if used_end < min(start, media_end):
            yield used_end, min(start, media_end)
        if is_media:
            media_end = end
            used_end = max(used_end, start)
        else:
            used_end = max(used_end, end)
    if used_end < media_end:
        yield used_end, media_end


def _build_patches(region: Region, exif: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield offset and new content of each of the region's ranges."""
    size = sum(end - start for start, end in region.ranges)
    content = _build_replacement(region.purpose, exif, size)
    position = 0
    for start, end in region.ranges:
        yield start, content[position : position + end - start]
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
# Coded images, and images derived from them. No decoder needs an item of any other type.
_IMAGE_ITEMS: Final = frozenset({b"av01", b"grid", b"iovl", b"iden", b"tmap"})
_METADATA_ITEMS: Final = {b"Exif": Purpose.EXIF, b"mime": Purpose.TEXT}


def classify_bytes(source: Source) -> Iterator[Region]:
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


def _read_top_level_boxes(source: Source) -> Iterator[Box]:
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


def _classify_box(source: Source, box: Box, parent: bytes) -> Iterator[Region]:
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
        yield Region(Purpose.STRUCTURE, ((box.start, box.body),))
        yield Region(Purpose.MEDIA_DATA, ((box.body, box.end),))
    else:
        yield Region(Purpose.STRUCTURE, ((box.start, box.end),))
        if box.kind == b"stbl":
            yield Region(Purpose.PIXELS, tuple(read_sample_chunks(source, box)))


def _classify_items(source: Source, meta: Box) -> Iterator[Region]:
    for item in read_items(source, meta):
        is_image = item.kind in _IMAGE_ITEMS
        purpose = Purpose.PIXELS if is_image else _METADATA_ITEMS.get(item.kind, Purpose.UNUSED)
        if not purpose.is_kept and any(end > len(source) for _, end in item.ranges):
            raise UnknownStructureError
        yield Region(purpose, item.ranges)


def _classify_times(source: Source, box: Box) -> Iterator[Region]:
    version = box.open(source).read_number(1)
    times_end = box.full_box_body + (16 if version == 1 else 8)
    if times_end > box.end:
        raise UnknownStructureError
    yield Region(Purpose.UNUSED, ((box.full_box_body, times_end),))
    yield Region(Purpose.STRUCTURE, ((box.start, box.full_box_body), (times_end, box.end)))


def _classify_properties(source: Source, ipco: Box) -> Iterator[Region]:
    yield Region(Purpose.STRUCTURE, ((ipco.start, ipco.body),))
    for box in read_boxes(source, ipco.body, ipco.end):
        kept_end = box.end
        if box.kind in _METADATA_PROPERTIES:
            type_end = box.body + (_UUID_BYTES if box.kind == b"uuid" else 0)
            kept_end = min(type_end, box.end)
        yield Region(Purpose.STRUCTURE, ((box.start, kept_end),))
        yield Region(Purpose.UNUSED, ((kept_end, box.end),))
