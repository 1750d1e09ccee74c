"""Stripping metadata from JPEG files: the same pixels, whatever is between the segments."""

from __future__ import annotations

import io
import struct
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from replicate_proxy.images.containers import jpeg
from tests.support.images import SECRET, decode_frames, encode_image, make_photo, strip, strip_and_check

if TYPE_CHECKING:
    from collections.abc import Callable

BASELINE = encode_image(make_photo(48, 32), "JPEG", quality=90)
PROGRESSIVE = encode_image(make_photo(48, 32), "JPEG", quality=90, progressive=True)
RESTARTING = encode_image(make_photo(48, 32), "JPEG", quality=90, restart_marker_blocks=1)
SOURCES = [BASELINE, PROGRESSIVE, RESTARTING]


def build_segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


EXIF_SEGMENT = build_segment(0xE1, b"Exif\0\0MM\0*\0\0\0\x08\0\0" + SECRET)
METADATA = [
    EXIF_SEGMENT,
    build_segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + SECRET),
    build_segment(0xED, b"Photoshop 3.0\0" + SECRET),
    build_segment(0xE2, b"MPF\0" + SECRET),
    build_segment(0xEB, b"JP\0\0jumb" + SECRET),
    build_segment(0xE0, b"JFXX\0\x10" + SECRET),
    build_segment(0xEE, b"other" + SECRET),
    build_segment(0xFE, SECRET),
    build_segment(0xF0, SECRET),
]


def list_positions(content: bytes) -> list[int]:
    """Return the offsets of all segments after the first, the end marker included."""
    return [segment.start for segment in jpeg.read_segments(content)][1:]


def insert(content: bytes, position: int, added: bytes) -> bytes:
    return content[:position] + added + content[position:]


@pytest.mark.parametrize("source", SOURCES, ids=["baseline", "progressive", "restarting"])
@pytest.mark.parametrize("metadata", METADATA)
def test_strip_removes_metadata_before_any_segment(source: bytes, metadata: bytes) -> None:
    for position in list_positions(source):
        assert strip(insert(source, position, metadata), "jpeg") == source


@pytest.mark.parametrize("source", SOURCES, ids=["baseline", "progressive", "restarting"])
@pytest.mark.parametrize(
    "separate",
    [
        lambda segment: b"\xff" + segment,
        lambda segment: b"\xff" * 5 + segment,
        lambda segment: b"\0" + segment,
        lambda segment: segment + b"\0",
        lambda segment: segment + SECRET,
        lambda segment: segment + b"\xff\0" + SECRET,
        lambda segment: b"\xff\xd3" + segment,
    ],
    ids=["fill", "fills", "junk before", "junk after", "text after", "escaped", "restart"],
)
def test_strip_removes_metadata_between_fill_and_junk_bytes(
    source: bytes, separate: Callable[[bytes], bytes]
) -> None:
    content = source
    for position in reversed(list_positions(source)[:4]):
        content = insert(content, position, separate(EXIF_SEGMENT))
    assert decode_frames(content) == decode_frames(source)

    assert strip_and_check(content, "jpeg") == source


def test_strip_removes_metadata_between_scans() -> None:
    scans = [s.start for s in jpeg.read_segments(PROGRESSIVE) if s.marker == jpeg.START_OF_SCAN]
    content = PROGRESSIVE
    for position in reversed(scans[1:]):
        content = insert(content, position, b"\xff" + EXIF_SEGMENT + build_segment(0xFE, SECRET))

    assert len(scans) > 2
    assert strip_and_check(content, "jpeg") == PROGRESSIVE


def test_strip_keeps_color_profile_and_removes_thumbnail_of_jfif() -> None:
    profile = b"\0" * 36 + b"acsp" + b"\0" * 200
    source = encode_image(make_photo(48, 32), "JPEG", icc_profile=profile)
    header = next(jpeg.read_segments(source))
    thumbnail = build_segment(0xE0, source[header.body : header.body + 12] + b"\x05\x02" + SECRET * 2)
    content = source[: header.start] + thumbnail + source[header.end :]

    stripped = strip_and_check(content, "jpeg")

    assert stripped == source
    assert Image.open(io.BytesIO(stripped)).info["icc_profile"] == profile


def test_strip_keeps_what_adobe_says_about_colors() -> None:
    source = encode_image(make_photo(48, 32).convert("CMYK"), "JPEG")
    (adobe,) = [segment for segment in jpeg.read_segments(source) if segment.marker == 0xEE]
    longer = build_segment(0xEE, source[adobe.body : adobe.end] + SECRET)

    assert strip_and_check(source[: adobe.start] + longer + source[adobe.end :], "jpeg") == source


@pytest.mark.parametrize("source", SOURCES, ids=["baseline", "progressive", "restarting"])
@pytest.mark.parametrize("trailer", [b"", b"\xff", b"\xff\xd8" + EXIF_SEGMENT, b"<script>" + SECRET])
def test_strip_removes_bytes_after_end(source: bytes, trailer: bytes) -> None:
    assert strip_and_check(source + trailer, "jpeg") == source


def test_strip_removes_metadata_of_truncated_file() -> None:
    content = insert(BASELINE, list_positions(BASELINE)[0], EXIF_SEGMENT)

    assert strip(content[:-50], "jpeg") == BASELINE[:-50]
    assert strip(content[: content.index(SECRET) + 4], "jpeg") == BASELINE[: list_positions(BASELINE)[0]]


@pytest.mark.parametrize("length", [b"\0\0", b"\0\1"])
def test_strip_returns_none_when_segment_has_no_room_for_its_length(length: bytes) -> None:
    assert strip(insert(BASELINE, 20, b"\xff\xe1" + length), "jpeg") is None


def test_strip_returns_none_when_image_starts_twice() -> None:
    assert strip(insert(BASELINE, 2, b"\xff\xd8"), "jpeg") is None
