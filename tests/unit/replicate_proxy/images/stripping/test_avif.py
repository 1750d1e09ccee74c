"""Stripping metadata from AVIF files: same length, same pixels, metadata overwritten."""

from __future__ import annotations

import io
import struct
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from tests.support.avif import EXIF, XMP, AvifFile, MetadataItem, build_box, build_full_box
from tests.support.images import SECRET, decode_frames, encode_image, make_photo, strip, strip_and_check

if TYPE_CHECKING:
    from collections.abc import Callable

XMP_PACKET = b"<x:xmpmeta>" + SECRET + b"</x:xmpmeta>"
STILL = encode_image(make_photo(48, 32), "AVIF", speed=10)
UUID = bytes(range(16))


def make_exif() -> Image.Exif:
    """Return copyright, a description that holds the secret, and a position."""
    exif = Image.Exif()
    exif[0x8298] = "(c) A. Person"
    exif[0x010E] = SECRET.decode()
    exif.get_ifd(0x8825)[1] = "N"
    exif.get_ifd(0x8825)[2] = (52.0, 31.0, 12.0)
    return exif


def make_copyright_exif() -> bytes:
    exif = Image.Exif()
    exif[0x8298] = "(c) A. Person"
    return exif.tobytes()


def build_exif_item(exif: bytes | None = None) -> bytes:
    """Return an EXIF item as libavif writes it: the TIFF header follows after six more bytes."""
    return struct.pack(">I", 6) + (exif or make_exif().tobytes())


def make_sequence(**options: Any) -> bytes:
    photos = [make_photo(48, 32, seed=seed) for seed in range(3)]
    settings = {"save_all": True, "append_images": photos[1:], "duration": 80, "speed": 10}
    return encode_image(photos[0], "AVIF", **settings, **options)


def make_still(**options: Any) -> bytes:
    return encode_image(make_photo(48, 32), "AVIF", speed=10, **options)


def append_to_moov(content: bytes, box: bytes) -> bytes:
    """Append a box to moov and correct the offsets of the only chunk and of the items."""
    start = content.index(b"moov") - 4
    size = int.from_bytes(content[start : start + 4])
    data = bytearray(content[: start + size] + box + content[start + size :])
    struct.pack_into(">I", data, start, size + len(box))
    chunk_offset = data.index(b"stco") + 12
    item_offset = data.index(b"iloc") + 18
    for position in (chunk_offset, item_offset):
        offset = int.from_bytes(data[position : position + 4])
        struct.pack_into(">I", data, position, offset + len(box))
    return bytes(data)


def test_strip_removes_position_and_xmp_written_by_pillow() -> None:
    stripped = strip_and_check(make_still(exif=make_exif(), xmp=XMP_PACKET), "avif")

    with Image.open(io.BytesIO(stripped)) as image:
        assert not image.getexif()
        assert not image.getexif().get_ifd(0x8825)
        assert not image.info["xmp"].strip()
    assert b"A. Person" not in stripped


def test_strip_keeps_frames_of_sequence_and_clears_its_times() -> None:
    content = make_sequence(exif=make_exif(), xmp=XMP_PACKET)
    assert len(decode_frames(content)) == 3

    stripped = strip_and_check(content, "avif")

    assert b"A. Person" not in stripped
    times_start = content.index(b"mvhd") + 8
    assert content[times_start : times_start + 16].strip(b"\0")
    assert not stripped[times_start : times_start + 16].strip(b"\0")


@pytest.mark.parametrize("make_source", [make_still, make_sequence])
def test_strip_replaces_exif_with_copyright(make_source: Callable[..., bytes]) -> None:
    stripped = strip_and_check(make_source(exif=make_exif()), "avif", make_copyright_exif())

    with Image.open(io.BytesIO(stripped)) as image:
        assert dict(image.getexif()) == {0x8298: "(c) A. Person"}


def test_strip_drops_copyright_longer_than_old_exif_block() -> None:
    short = Image.Exif()
    short[0x0112] = 1
    content = AvifFile(STILL, (MetadataItem(EXIF, (build_exif_item(short.tobytes()),)),)).build()

    stripped = strip_and_check(content, "avif", make_copyright_exif())

    with Image.open(io.BytesIO(stripped)) as image:
        assert not image.getexif()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_strip_keeps_orientation(orientation: int) -> None:
    exif = make_exif()
    exif[0x0112] = orientation

    stripped = strip_and_check(make_still(exif=exif), "avif", make_copyright_exif())

    with Image.open(io.BytesIO(stripped)) as image:
        assert image.getexif().get(0x0112, 1) == orientation


def test_strip_keeps_color_profile() -> None:
    profile = b"\0" * 36 + b"acsp" + b"\0" * 200

    stripped = strip_and_check(make_still(exif=make_exif(), icc_profile=profile), "avif")

    with Image.open(io.BytesIO(stripped)) as image:
        assert image.info["icc_profile"] == profile


@pytest.mark.parametrize("iloc_version", [0, 1, 2])
@pytest.mark.parametrize("base_offset", [0, 40])
def test_strip_finds_items_by_any_kind_of_offset(iloc_version: int, base_offset: int) -> None:
    items = (MetadataItem(EXIF, (build_exif_item(),)), MetadataItem(XMP, (XMP_PACKET,)))
    content = AvifFile(STILL, items, iloc_version=iloc_version, base_offset=base_offset).build()
    with Image.open(io.BytesIO(content)) as image:
        assert image.getexif()[0x8298]
        assert image.info["xmp"] == XMP_PACKET

    strip_and_check(content, "avif")


@pytest.mark.parametrize("iloc_version", [1, 2])
def test_strip_finds_items_in_idat(iloc_version: int) -> None:
    items = (
        MetadataItem(EXIF, (build_exif_item(),), is_in_idat=True),
        MetadataItem(XMP, (XMP_PACKET,), is_in_idat=True),
    )
    content = AvifFile(STILL, items, iloc_version=iloc_version).build()
    with Image.open(io.BytesIO(content)) as image:
        assert image.getexif()[0x8298]

    strip_and_check(content, "avif")


def test_strip_overwrites_item_of_several_extents_as_one() -> None:
    exif = build_exif_item()
    content = AvifFile(STILL, (MetadataItem(EXIF, (exif[:9], exif[9:30], exif[30:])),)).build()

    stripped = strip_and_check(content, "avif", make_copyright_exif())

    with Image.open(io.BytesIO(stripped)) as image:
        assert dict(image.getexif()) == {0x8298: "(c) A. Person"}


def test_strip_overwrites_text_items_of_any_type() -> None:
    items = (
        MetadataItem(b"mimenote\0text/plain\0", (SECRET,)),
        MetadataItem(b"uri \0urn:x\0", (SECRET,)),
    )

    strip_and_check(AvifFile(STILL, items).build(), "avif")


def test_strip_clears_media_data_that_no_item_refers_to() -> None:
    items = (MetadataItem(XMP, (XMP_PACKET,)),)
    content = AvifFile(STILL, items).build()
    location = struct.pack(">II", content.index(XMP_PACKET), len(XMP_PACKET))
    assert content.count(location) == 1
    shortened = content.replace(location, struct.pack(">II", content.index(XMP_PACKET), 4))

    strip_and_check(shortened, "avif")


@pytest.mark.parametrize(
    "fields",
    [
        {"before_meta": build_box(b"uuid", UUID, SECRET)},
        {"after_mdat": build_box(b"uuid", UUID, SECRET)},
        {"after_mdat": build_box(b"free", SECRET)},
        {"after_mdat": struct.pack(">I4sQ", 1, b"jumb", 16 + len(SECRET)) + SECRET},
        {"after_mdat": struct.pack(">I4s", 0, b"mpvd") + SECRET},
        {"meta_boxes": build_box(b"uuid", UUID, SECRET)},
        {"meta_boxes": build_full_box(b"xml ", 0, SECRET + b"\0")},
        {"properties": build_full_box(b"udes", 0, b"en\0", SECRET, b"\0\0\0")},
        {"properties": build_box(b"uuid", UUID, SECRET)},
    ],
)
def test_strip_clears_boxes_that_no_image_is_drawn_from(fields: dict[str, Any]) -> None:
    content = AvifFile(STILL, **fields).build()
    assert SECRET in content

    strip_and_check(content, "avif")


def test_strip_clears_user_data_of_sequence() -> None:
    strip_and_check(
        append_to_moov(make_sequence(), build_box(b"udta", build_box(b"\xa9xyz", SECRET))), "avif"
    )


@pytest.mark.parametrize("trailer", [b"<html>" + SECRET, SECRET, b"\0", b"PK\3\4" + SECRET])
def test_strip_removes_bytes_after_last_box(trailer: bytes) -> None:
    assert len(strip_and_check(STILL + trailer, "avif")) == len(STILL)


def test_strip_returns_same_bytes_when_there_is_no_metadata() -> None:
    assert strip_and_check(STILL, "avif") == STILL


class TestUnknownStructure:
    def relocate_packet(self, content: bytes, start: int) -> bytes:
        """Return the file with another offset in the location of its XMP packet."""
        location = struct.pack(">II", content.index(XMP_PACKET), len(XMP_PACKET))
        assert content.count(location) == 1
        return content.replace(location, struct.pack(">II", start, len(XMP_PACKET)))

    def test_strip_returns_none_when_metadata_and_pixels_share_bytes(self) -> None:
        content = AvifFile(STILL, (MetadataItem(XMP, (XMP_PACKET,)),)).build()

        assert strip(self.relocate_packet(content, content.index(XMP_PACKET) - 1), "avif") is None

    def test_strip_returns_none_when_metadata_overlaps_file_structure(self) -> None:
        content = AvifFile(STILL, (MetadataItem(XMP, (XMP_PACKET,)),)).build()

        assert strip(self.relocate_packet(content, 4), "avif") is None

    def test_strip_returns_none_when_metadata_extends_beyond_file(self) -> None:
        content = AvifFile(STILL, (MetadataItem(XMP, (XMP_PACKET,)),)).build()

        assert strip(self.relocate_packet(content, content.index(XMP_PACKET) + 1), "avif") is None

    def test_strip_returns_none_when_items_are_in_another_file(self) -> None:
        content = AvifFile(STILL, (MetadataItem(XMP, (XMP_PACKET,)),), data_reference=1).build()

        assert strip(content, "avif") is None

    @pytest.mark.parametrize("kind", [b"moof", b"mini"])
    def test_strip_returns_none_when_unsupported_box_may_locate_pixels(self, kind: bytes) -> None:
        assert strip(AvifFile(STILL, after_mdat=build_box(kind, b"\0" * 8)).build(), "avif") is None

    def test_strip_returns_none_when_there_is_no_image(self) -> None:
        assert strip(build_box(b"ftyp", b"avif\0\0\0\0"), "avif") is None
