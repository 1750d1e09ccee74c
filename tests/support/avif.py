"""Build AVIF files from boxes, with metadata in places where no encoder of ours puts it."""

from __future__ import annotations

import struct
from dataclasses import dataclass

EXIF, XMP = b"Exif", b"mimeXMP\0application/rdf+xml\0"
_PICTURE_ID = 1


def build_box(kind: bytes, *body: bytes) -> bytes:
    content = b"".join(body)
    return struct.pack(">I4s", len(content) + 8, kind) + content


def build_full_box(kind: bytes, version: int, *body: bytes) -> bytes:
    return build_box(kind, bytes((version, 0, 0, 0)), *body)


def find_box_body(content: bytes, *path: bytes) -> bytes:
    """Return the body of the box at that path of types."""
    for kind in path:
        start = 0
        while content[start + 4 : start + 8] != kind:
            start += int.from_bytes(content[start : start + 4])
        content = content[start + 8 : start + int.from_bytes(content[start : start + 4])]
        if kind == b"meta":
            content = content[4:]
    return content


@dataclass(frozen=True)
class MetadataItem:
    """`kind` is the item's type and what follows it in an infe box; `pieces` are the item's extents."""

    kind: bytes
    pieces: tuple[bytes, ...]
    is_in_idat: bool = False


@dataclass(frozen=True)
class AvifFile:
    """A still AVIF file with the AV1 data and properties of `still`, which Pillow wrote without metadata.

    `properties` are added to ipco, `meta_boxes` to meta; `before_meta` and `after_mdat` are boxes of the
    file. `data_reference` is the data reference index of the metadata items, other than 0 for items in
    another file.
    """

    still: bytes
    items: tuple[MetadataItem, ...] = ()
    iloc_version: int = 1
    base_offset: int = 0
    properties: bytes = b""
    meta_boxes: bytes = b""
    before_meta: bytes = b""
    after_mdat: bytes = b""
    data_reference: int = 0

    def build(self) -> bytes:
        """Return the file, built twice: the pixels' offset depends on the length of what precedes them."""
        return self._build(self._build(self.base_offset).index(b"mdat") + 4)

    def _build(self, mdat_offset: int) -> bytes:
        pixels = find_box_body(self.still, b"mdat")
        mdat_items = b"".join(b"".join(item.pieces) for item in self.items if not item.is_in_idat)
        idat_items = b"".join(b"".join(item.pieces) for item in self.items if item.is_in_idat)
        meta = build_full_box(
            b"meta",
            0,
            build_box(b"hdlr", find_box_body(self.still, b"meta", b"hdlr")),
            build_box(b"pitm", find_box_body(self.still, b"meta", b"pitm")),
            self._build_iloc(mdat_offset, len(pixels)),
            self._build_iinf(),
            self._build_iref(),
            self._build_iprp(),
            *([build_box(b"idat", idat_items)] if idat_items else []),
            self.meta_boxes,
        )
        ftyp = build_box(b"ftyp", find_box_body(self.still, b"ftyp"))
        return ftyp + self.before_meta + meta + build_box(b"mdat", pixels, mdat_items) + self.after_mdat

    def _build_iloc(self, mdat_offset: int, pixel_bytes: int) -> bytes:
        entries = [self._build_location(_PICTURE_ID, False, [(mdat_offset, pixel_bytes)])]
        next_offset = {False: mdat_offset + pixel_bytes, True: 0}
        for item_id, item in enumerate(self.items, _PICTURE_ID + 1):
            extents = []
            for piece in item.pieces:
                extents.append((next_offset[item.is_in_idat], len(piece)))
                next_offset[item.is_in_idat] += len(piece)
            entries.append(self._build_location(item_id, item.is_in_idat, extents))
        field_sizes = bytes((0x44, 0x40))
        count = len(entries).to_bytes(4 if self.iloc_version == 2 else 2)
        return build_full_box(b"iloc", self.iloc_version, field_sizes, count, *entries)

    def _build_location(self, item_id: int, is_in_idat: bool, extents: list[tuple[int, int]]) -> bytes:
        identifier = item_id.to_bytes(4 if self.iloc_version == 2 else 2)
        construction_method = struct.pack(">H", is_in_idat) if self.iloc_version else b""
        base = 0 if is_in_idat else self.base_offset
        data_reference = self.data_reference if item_id != _PICTURE_ID else 0
        fields = struct.pack(">HIH", data_reference, base, len(extents))
        table = [struct.pack(">II", start - base, length) for start, length in extents]
        return b"".join((identifier, construction_method, fields, *table))

    def _build_iinf(self) -> bytes:
        kinds = [b"av01\0", *(item.kind + b"\0" for item in self.items)]
        entries = [
            build_full_box(b"infe", 2, struct.pack(">HH", item_id, 0), kind)
            for item_id, kind in enumerate(kinds, _PICTURE_ID)
        ]
        return build_full_box(b"iinf", 0, struct.pack(">H", len(entries)), *entries)

    def _build_iref(self) -> bytes:
        """Return references that make each metadata item describe the picture; libavif ignores others."""
        first_id = _PICTURE_ID + 1
        references = (
            build_box(b"cdsc", struct.pack(">HHH", item_id, 1, _PICTURE_ID))
            for item_id in range(first_id, first_id + len(self.items))
        )
        return build_full_box(b"iref", 0, *references)

    def _build_iprp(self) -> bytes:
        iprp = find_box_body(self.still, b"meta", b"iprp")
        return build_box(
            b"iprp",
            build_box(b"ipco", find_box_body(iprp, b"ipco"), self.properties),
            build_box(b"ipma", find_box_body(iprp, b"ipma")),
        )
