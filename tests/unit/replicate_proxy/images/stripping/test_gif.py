"""Stripping metadata from GIF files: the same frames with the same timing, and no other content."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from tests.support.images import (
    SECRET,
    decode_frames,
    encode_image,
    make_animation,
    make_photo,
    strip,
    strip_and_check,
)

STILL = encode_image(make_photo(48, 32), "GIF")
ANIMATION = make_animation(4, "GIF", size=(48, 32))
GRAPHIC_CONTROL = b"!\xf9\4"
# XMP specification part 3, GIF: reading sub-blocks from any of these bytes ends at the last one.
MAGIC_TRAILER = b"\1" + bytes(range(255, -1, -1)) + b"\0"
XMP = b"!\xff\x0bXMP DataXMP<x:xmpmeta>" + SECRET + b"</x:xmpmeta>" + MAGIC_TRAILER


def build_sub_blocks(content: bytes) -> bytes:
    pieces = [content[start : start + 255] for start in range(0, len(content), 255)]
    return b"".join(bytes((len(piece),)) + piece for piece in pieces) + b"\0"


def build_comment(content: bytes) -> bytes:
    return b"!\xfe" + build_sub_blocks(content)


def build_application(name: bytes, content: bytes) -> bytes:
    return b"!\xff\x0b" + name + build_sub_blocks(content)


def insert_before_frames(content: bytes, block: bytes) -> bytes:
    return content.replace(GRAPHIC_CONTROL, block + GRAPHIC_CONTROL)


@pytest.mark.parametrize(
    "source", [encode_image(make_photo(48, 32).convert("P"), "GIF"), ANIMATION], ids=["still", "animation"]
)
@pytest.mark.parametrize(
    "block",
    [
        build_comment(SECRET),
        build_comment(SECRET * 40),
        XMP,
        build_application(b"XMP DataXMP", SECRET),
        build_application(b"MAGPIXEL1.0", SECRET),
        b"!\xce" + build_sub_blocks(SECRET),
        b"\0" + build_comment(SECRET) + b"\0\0",
    ],
    ids=["comment", "long comment", "xmp", "xmp in sub-blocks", "application", "unknown", "stray bytes"],
)
def test_strip_removes_metadata_block_and_keeps_frames(source: bytes, block: bytes) -> None:
    clean = source
    if GRAPHIC_CONTROL not in source:
        clean = source.replace(b",", GRAPHIC_CONTROL + b"\0" * 5 + b",", 1)
    content = insert_before_frames(clean, block)
    assert SECRET in content

    assert strip_and_check(content, "gif") == clean


def test_strip_removes_comment_written_by_pillow() -> None:
    stripped = strip_and_check(encode_image(make_photo(48, 32), "GIF", comment=SECRET), "gif")

    with Image.open(io.BytesIO(stripped)) as image:
        assert "comment" not in image.info


def test_strip_keeps_durations_and_loop_count_of_animation() -> None:
    photos = [make_photo(48, 32, seed=seed) for seed in range(4)]
    content = encode_image(
        photos[0],
        "GIF",
        save_all=True,
        append_images=photos[1:],
        duration=[40, 80, 120, 160],
        loop=3,
        disposal=2,
        comment=SECRET,
    )

    frames = decode_frames(strip_and_check(content, "gif"))

    assert [timing for _, _, timing in frames] == [(time, 3, (48, 32)) for time in (40, 80, 120, 160)]


@pytest.mark.parametrize("name", [b"NETSCAPE2.0", b"ANIMEXTS1.0", b"ICCRGBG1012"])
def test_strip_keeps_loop_count_and_color_profile(name: bytes) -> None:
    content = insert_before_frames(ANIMATION, build_application(name, b"\1\2\0"))

    assert strip_and_check(content, "gif") == content


def test_strip_removes_further_data_of_loop_extension() -> None:
    loop = b"\x03\x01\x07\0"
    assert ANIMATION.count(b"NETSCAPE2.0\x03\x01\0\0") == 1
    source = ANIMATION.replace(b"NETSCAPE2.0\x03\x01\0\0", b"NETSCAPE2.0" + loop)
    content = source.replace(loop, loop + build_sub_blocks(SECRET)[:-1])

    assert strip_and_check(content, "gif") == source


def test_strip_keeps_plain_text_extension() -> None:
    text = b"!\1\x0c" + b"\0" * 8 + b"\4\4\1\0" + build_sub_blocks(b"drawn")

    assert b"drawn" in strip_and_check(insert_before_frames(ANIMATION, text), "gif")


def test_strip_keeps_local_color_tables() -> None:
    photos = [make_photo(48, 32, seed=seed).quantize(2 << seed) for seed in range(4)]
    content = encode_image(photos[0], "GIF", save_all=True, append_images=photos[1:], comment=SECRET)

    strip_and_check(content, "gif")


@pytest.mark.parametrize("source", [STILL, ANIMATION], ids=["still", "animation"])
def test_strip_removes_bytes_after_trailer(source: bytes) -> None:
    assert strip_and_check(source + b"<script>" + SECRET, "gif") == source


def test_strip_accepts_file_without_trailer() -> None:
    assert (
        strip_and_check(insert_before_frames(ANIMATION, build_comment(SECRET))[:-1], "gif") == ANIMATION[:-1]
    )


def test_strip_removes_truncated_comment() -> None:
    assert strip_and_check(ANIMATION[:-1] + build_comment(SECRET * 9)[:-20], "gif") == ANIMATION[:-1]


def test_strip_returns_same_bytes_when_there_is_no_metadata() -> None:
    assert strip_and_check(ANIMATION, "gif") == ANIMATION


@pytest.mark.parametrize("size", [0, 6, 10])
def test_strip_returns_none_when_header_is_truncated(size: int) -> None:
    assert strip(STILL[:size], "gif") is None


@pytest.mark.parametrize("block", [b"!\xf9\0", b"!\xce\0", b"!\xff\x0bNETSCAPE2.0\0"])
def test_strip_returns_none_when_decoders_disagree_about_empty_extension(block: bytes) -> None:
    assert strip(insert_before_frames(ANIMATION, block), "gif") is None
