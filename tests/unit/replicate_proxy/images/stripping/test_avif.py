"""Metadata out of AVIF: the file as long as before, its pixels untouched, what was told in it gone."""

from __future__ import annotations

import io
import struct
from typing import Any

import pytest
from PIL import Image

from replicate_proxy.images.stripping.strip import strip_metadata
from tests.support.boxes import EXIF, XMP, Avif, MetadataItem, build_box, build_full_box
from tests.support.pictures import decode_frames, encode_image, make_photo

SECRET = b"geo:52.52,13.40"
PACKET = b"<x:xmpmeta>" + SECRET + b"</x:xmpmeta>"
STILL = encode_image(make_photo(48, 32), "AVIF", speed=10)
UUID = bytes(range(16))


def located() -> Image.Exif:
    exif = Image.Exif()
    exif[0x8298] = "(c) A. Person"
    exif[0x010E] = SECRET.decode()
    exif.get_ifd(0x8825)[1] = "N"
    exif.get_ifd(0x8825)[2] = (52.0, 31.0, 12.0)
    return exif


def copyright_only() -> bytes:
    exif = Image.Exif()
    exif[0x8298] = "(c) A. Person"
    return exif.tobytes()


def exif_item(exif: bytes | None = None) -> bytes:
    """The TIFF header is six bytes further on, as libavif writes it."""
    return struct.pack(">I", 6) + (exif or located().tobytes())


def moving(**options: Any) -> bytes:
    pictures = [make_photo(48, 32, seed=seed) for seed in range(3)]
    settings = {"save_all": True, "append_images": pictures[1:], "duration": 80, "speed": 10}
    return encode_image(pictures[0], "AVIF", **settings, **options)


def still(**options: Any) -> bytes:
    return encode_image(make_photo(48, 32), "AVIF", speed=10, **options)


def with_box_in_moov(content: bytes, extra: bytes) -> bytes:
    """Appends a box to moov and moves the samples' one chunk, and the items, on with it."""
    at = content.index(b"moov") - 4
    size = int.from_bytes(content[at : at + 4])
    data = bytearray(content[: at + size] + extra + content[at + size :])
    struct.pack_into(">I", data, at, size + len(extra))
    chunk = data.index(b"stco") + 12
    items = data.index(b"iloc") + 18
    for offset in (chunk, items):
        struct.pack_into(">I", data, offset, int.from_bytes(data[offset : offset + 4]) + len(extra))
    return bytes(data)


def stripped(content: bytes, exif: bytes = b"") -> bytes:
    """Without its metadata; whatever the file, it shows what it showed and is no longer than it was."""
    result = strip_metadata(content, "avif", exif=exif)
    assert result is not None
    assert decode_frames(result) == decode_frames(content)
    assert len(result) <= len(content)
    assert SECRET not in result
    return result


def test_pillows_file_loses_position_and_xmp() -> None:
    result = stripped(still(exif=located(), xmp=PACKET))

    with Image.open(io.BytesIO(result)) as image:
        assert not image.getexif()
        assert not image.getexif().get_ifd(0x8825)
        assert not image.info["xmp"].strip()
    assert b"A. Person" not in result


def test_a_sequence_keeps_moving_in_time_and_loses_them_as_well() -> None:
    content = moving(exif=located(), xmp=PACKET)
    assert len(decode_frames(content)) == 3

    result = stripped(content)

    assert b"A. Person" not in result
    made = content.index(b"mvhd") + 8
    assert content[made : made + 16].strip(b"\0")
    assert not result[made : made + 16].strip(b"\0")


@pytest.mark.parametrize("make", [still, moving])
def test_the_copyright_takes_the_place_of_what_was_told(make: Any) -> None:
    result = stripped(make(exif=located()), copyright_only())

    with Image.open(io.BytesIO(result)) as image:
        assert dict(image.getexif()) == {0x8298: "(c) A. Person"}


def test_a_copyright_longer_than_the_room_is_left_out() -> None:
    short = Image.Exif()
    short[0x0112] = 1
    content = Avif(STILL, (MetadataItem(EXIF, (exif_item(short.tobytes()),)),)).content()

    result = stripped(content, copyright_only())

    with Image.open(io.BytesIO(result)) as image:
        assert not image.getexif()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_picture_stays_as_it_was_turned(orientation: int) -> None:
    exif = located()
    exif[0x0112] = orientation

    result = stripped(still(exif=exif), copyright_only())

    with Image.open(io.BytesIO(result)) as image:
        assert image.getexif().get(0x0112, 1) == orientation


def test_the_colour_profile_stays() -> None:
    profile = b"\0" * 36 + b"acsp" + b"\0" * 200

    result = stripped(still(exif=located(), icc_profile=profile))

    with Image.open(io.BytesIO(result)) as image:
        assert image.info["icc_profile"] == profile


@pytest.mark.parametrize("iloc_version", [0, 1, 2])
@pytest.mark.parametrize("base_offset", [0, 40])
def test_items_are_found_however_they_are_placed(iloc_version: int, base_offset: int) -> None:
    told = (MetadataItem(EXIF, (exif_item(),)), MetadataItem(XMP, (PACKET,)))
    content = Avif(STILL, told, iloc_version=iloc_version, base_offset=base_offset).content()
    with Image.open(io.BytesIO(content)) as image:
        assert image.getexif()[0x8298]
        assert image.info["xmp"] == PACKET

    stripped(content)


@pytest.mark.parametrize("iloc_version", [1, 2])
def test_items_in_the_meta_box_itself_are_found(iloc_version: int) -> None:
    told = (MetadataItem(EXIF, (exif_item(),), in_idat=True), MetadataItem(XMP, (PACKET,), in_idat=True))
    content = Avif(STILL, told, iloc_version=iloc_version).content()
    with Image.open(io.BytesIO(content)) as image:
        assert image.getexif()[0x8298]

    stripped(content)


def test_an_item_in_pieces_is_written_over_as_one() -> None:
    whole = exif_item()
    content = Avif(STILL, (MetadataItem(EXIF, (whole[:9], whole[9:30], whole[30:])),)).content()

    result = stripped(content, copyright_only())

    with Image.open(io.BytesIO(result)) as image:
        assert dict(image.getexif()) == {0x8298: "(c) A. Person"}


def test_any_text_item_is_written_over() -> None:
    told = (MetadataItem(b"mimenote\0text/plain\0", (SECRET,)), MetadataItem(b"uri \0urn:x\0", (SECRET,)))

    stripped(Avif(STILL, told).content())


@pytest.mark.parametrize(
    "where",
    [
        {"before": build_box(b"uuid", UUID, SECRET)},
        {"after": build_box(b"uuid", UUID, SECRET)},
        {"after": build_box(b"free", SECRET)},
        {"after": struct.pack(">I4sQ", 1, b"jumb", 16 + len(SECRET)) + SECRET},
        {"after": struct.pack(">I4s", 0, b"mpvd") + SECRET},
        {"in_meta": build_box(b"uuid", UUID, SECRET)},
        {"in_meta": build_full_box(b"xml ", 0, SECRET + b"\0")},
        {"properties": build_full_box(b"udes", 0, b"en\0", SECRET, b"\0\0\0")},
        {"properties": build_box(b"uuid", UUID, SECRET)},
    ],
)
def test_boxes_that_nothing_is_drawn_from_say_nothing_any_more(where: dict[str, Any]) -> None:
    content = Avif(STILL, **where).content()
    assert SECRET in content

    stripped(content)


def test_user_data_of_a_sequence_is_cleared() -> None:
    stripped(with_box_in_moov(moving(), build_box(b"udta", build_box(b"\xa9xyz", SECRET))))


@pytest.mark.parametrize("tail", [b"<html>" + SECRET, SECRET, b"\0", b"PK\3\4" + SECRET])
def test_what_follows_the_last_box_is_cut_off(tail: bytes) -> None:
    assert len(stripped(STILL + tail)) == len(STILL)


def test_a_file_that_tells_nothing_stays_as_it_is() -> None:
    assert stripped(STILL) == STILL


class TestNotTakenApart:
    def test_metadata_that_shares_bytes_with_the_pixels(self) -> None:
        content = Avif(STILL, (MetadataItem(XMP, (PACKET,)),)).content()

        assert strip_metadata(self.moved(content, content.index(PACKET) - 1), "avif") is None

    def test_metadata_that_lies_in_the_file_structure(self) -> None:
        content = Avif(STILL, (MetadataItem(XMP, (PACKET,)),)).content()

        assert strip_metadata(self.moved(content, 4), "avif") is None

    def test_metadata_behind_the_end_of_the_file(self) -> None:
        content = Avif(STILL, (MetadataItem(XMP, (PACKET,)),)).content()

        assert strip_metadata(self.moved(content, content.index(PACKET) + 1), "avif") is None

    def moved(self, content: bytes, start: int) -> bytes:
        """The file with the place of its packet told as another one."""
        where = struct.pack(">I", content.index(PACKET)) + struct.pack(">I", len(PACKET))
        assert content.count(where) == 1
        return content.replace(where, struct.pack(">II", start, len(PACKET)))

    def test_items_in_another_file(self) -> None:
        assert (
            strip_metadata(Avif(STILL, (MetadataItem(XMP, (PACKET,)),), reference=1).content(), "avif")
            is None
        )

    @pytest.mark.parametrize("kind", [b"moof", b"mini"])
    def test_pictures_told_of_in_boxes_not_known(self, kind: bytes) -> None:
        assert strip_metadata(Avif(STILL, after=build_box(kind, b"\0" * 8)).content(), "avif") is None

    def test_a_file_without_a_picture(self) -> None:
        assert strip_metadata(build_box(b"ftyp", b"avif\0\0\0\0"), "avif") is None
