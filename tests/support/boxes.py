"""ISO base media files taken apart and put together, for tests."""

from __future__ import annotations

import struct
from dataclasses import dataclass

EXIF, XMP = b"Exif", b"mimeXMP\0application/rdf+xml\0"


def build_box(kind: bytes, *body: bytes) -> bytes:
    joined = b"".join(body)
    return struct.pack(">I4s", len(joined) + 8, kind) + joined


def build_full_box(kind: bytes, version: int, *body: bytes) -> bytes:
    return build_box(kind, bytes((version, 0, 0, 0)), *body)


def find_box_body(content: bytes, *path: bytes) -> bytes:
    """The body of the box at that path of types."""
    for kind in path:
        at = 0
        while content[at + 4 : at + 8] != kind:
            at += int.from_bytes(content[at : at + 4])
        content = content[at + 8 : at + int.from_bytes(content[at : at + 4])]
        if kind == b"meta":
            content = content[4:]
    return content


@dataclass(frozen=True)
class MetadataItem:
    """One item of metadata: `kind` as in an infe box, from its type on; `pieces` are its extents."""

    kind: bytes
    pieces: tuple[bytes, ...]
    in_idat: bool = False


@dataclass(frozen=True)
class Avif:
    """A still AVIF file around the AV1 data and properties of one that Pillow wrote without metadata."""

    still: bytes
    items: tuple[MetadataItem, ...] = ()
    iloc_version: int = 1
    base_offset: int = 0
    properties: bytes = b""
    in_meta: bytes = b""
    before: bytes = b""
    after: bytes = b""
    reference: int = 0

    def content(self) -> bytes:
        """The whole file; twice, since the length of what comes first decides where the items are."""
        return self._content(self._content(self.base_offset).index(b"mdat") + 4)

    def _content(self, mdat: int) -> bytes:
        picture = find_box_body(self.still, b"mdat")
        told = b"".join(b"".join(one.pieces) for one in self.items if not one.in_idat)
        idat = b"".join(b"".join(one.pieces) for one in self.items if one.in_idat)
        meta = build_full_box(
            b"meta",
            0,
            build_box(b"hdlr", find_box_body(self.still, b"meta", b"hdlr")),
            build_box(b"pitm", find_box_body(self.still, b"meta", b"pitm")),
            self._iloc(mdat, len(picture)),
            self._iinf(),
            self._iref(),
            self._iprp(),
            *([build_box(b"idat", idat)] if idat else []),
            self.in_meta,
        )
        ftyp = build_box(b"ftyp", find_box_body(self.still, b"ftyp"))
        return ftyp + self.before + meta + build_box(b"mdat", picture, told) + self.after

    def _iloc(self, mdat: int, picture: int) -> bytes:
        entries = [self._location(1, False, [(mdat, picture)])]
        at = {False: mdat + picture, True: 0}
        for number, one in enumerate(self.items, 2):
            extents = []
            for piece in one.pieces:
                extents.append((at[one.in_idat], len(piece)))
                at[one.in_idat] += len(piece)
            entries.append(self._location(number, one.in_idat, extents))
        sizes = bytes((0x44, 0x40))
        count = len(entries).to_bytes(4 if self.iloc_version == 2 else 2)
        return build_full_box(b"iloc", self.iloc_version, sizes, count, *entries)

    def _location(self, number: int, in_idat: bool, extents: list[tuple[int, int]]) -> bytes:
        head = number.to_bytes(4 if self.iloc_version == 2 else 2)
        method = struct.pack(">H", in_idat) if self.iloc_version else b""
        base = 0 if in_idat else self.base_offset
        rest = struct.pack(">HIH", self.reference if number > 1 else 0, base, len(extents))
        table = [struct.pack(">II", start - base, length) for start, length in extents]
        return b"".join((head, method, rest, *table))

    def _iinf(self) -> bytes:
        kinds = [b"av01\0", *(one.kind + b"\0" for one in self.items)]
        entries = [
            build_full_box(b"infe", 2, struct.pack(">HH", number, 0), kind)
            for number, kind in enumerate(kinds, 1)
        ]
        return build_full_box(b"iinf", 0, struct.pack(">H", len(entries)), *entries)

    def _iref(self) -> bytes:
        """Each item of metadata describes the picture; without that libavif does not tell it."""
        return build_full_box(
            b"iref",
            0,
            *(
                build_box(b"cdsc", struct.pack(">HHH", number, 1, 1))
                for number in range(2, 2 + len(self.items))
            ),
        )

    def _iprp(self) -> bytes:
        iprp = find_box_body(self.still, b"meta", b"iprp")
        return build_box(
            b"iprp",
            build_box(b"ipco", find_box_body(iprp, b"ipco"), self.properties),
            build_box(b"ipma", find_box_body(iprp, b"ipma")),
        )
