"""Metadata out of GIF: the same frames in the same time, and nothing else told."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from replicate_proxy.images.stripping.strip import strip_metadata
from tests.support.pictures import decode_frames, encode_image, make_animation, make_photo

SECRET = b"geo:52.52,13.40"
STILL = encode_image(make_photo(48, 32), "GIF")
MOVING = make_animation(4, "GIF", size=(48, 32))
GRAPHIC_CONTROL = b"!\xf9\4"
# XMP specification part 3, GIF: whatever byte one comes from, counting on ends at the last.
MAGIC_TRAILER = b"\1" + bytes(range(255, -1, -1)) + b"\0"
XMP = b"!\xff\x0bXMP DataXMP<x:xmpmeta>" + SECRET + b"</x:xmpmeta>" + MAGIC_TRAILER


def sub_blocks(content: bytes) -> bytes:
    pieces = [content[at : at + 255] for at in range(0, len(content), 255)]
    return b"".join(bytes((len(piece),)) + piece for piece in pieces) + b"\0"


def comment(content: bytes) -> bytes:
    return b"!\xfe" + sub_blocks(content)


def application(name: bytes, content: bytes) -> bytes:
    return b"!\xff\x0b" + name + sub_blocks(content)


def before_each_frame(content: bytes, block: bytes) -> bytes:
    return content.replace(GRAPHIC_CONTROL, block + GRAPHIC_CONTROL)


def stripped(content: bytes) -> bytes:
    """Without its metadata; whatever the file, it shows what it showed and is no longer than it was."""
    result = strip_metadata(content, "gif")
    assert result is not None
    assert decode_frames(result) == decode_frames(content)
    assert SECRET not in result
    assert len(result) <= len(content)
    return result


@pytest.mark.parametrize("sound", [encode_image(make_photo(48, 32).convert("P"), "GIF"), MOVING])
@pytest.mark.parametrize(
    "block",
    [
        comment(SECRET),
        comment(SECRET * 40),
        XMP,
        application(b"XMP DataXMP", SECRET),
        application(b"MAGPIXEL1.0", SECRET),
        b"!\xce" + sub_blocks(SECRET),
        b"\0" + comment(SECRET) + b"\0\0",
    ],
    ids=["comment", "long comment", "xmp", "xmp in sub-blocks", "application", "unknown", "stray bytes"],
)
def test_what_is_told_goes_and_the_frames_stay(sound: bytes, block: bytes) -> None:
    with_header = (
        sound if GRAPHIC_CONTROL in sound else sound.replace(b",", GRAPHIC_CONTROL + b"\0" * 5 + b",", 1)
    )
    content = before_each_frame(with_header, block)
    assert SECRET in content

    assert stripped(content) == with_header


def test_pillows_comment_goes() -> None:
    result = stripped(encode_image(make_photo(48, 32), "GIF", comment=SECRET))

    with Image.open(io.BytesIO(result)) as image:
        assert "comment" not in image.info


def test_an_animation_keeps_its_frames_times_and_rounds() -> None:
    pictures = [make_photo(48, 32, seed=seed) for seed in range(4)]
    content = encode_image(
        pictures[0],
        "GIF",
        save_all=True,
        append_images=pictures[1:],
        duration=[40, 80, 120, 160],
        loop=3,
        disposal=2,
        comment=SECRET,
    )

    shown = decode_frames(stripped(content))

    assert [timing for _, _, timing in shown] == [(time, 3, (48, 32)) for time in (40, 80, 120, 160)]


@pytest.mark.parametrize("name", [b"NETSCAPE2.0", b"ANIMEXTS1.0", b"ICCRGBG1012"])
def test_rounds_and_colour_profile_stay(name: bytes) -> None:
    content = before_each_frame(MOVING, application(name, b"\1\2\0"))

    assert stripped(content) == content


def test_plain_text_is_part_of_the_picture() -> None:
    text = b"!\1\x0c" + b"\0" * 8 + b"\4\4\1\0" + sub_blocks(b"drawn")

    assert b"drawn" in stripped(before_each_frame(MOVING, text))


def test_colour_tables_of_its_own_stay_with_each_frame() -> None:
    pictures = [make_photo(48, 32, seed=seed).quantize(2 << seed) for seed in range(4)]
    content = encode_image(pictures[0], "GIF", save_all=True, append_images=pictures[1:], comment=SECRET)

    stripped(content)


@pytest.mark.parametrize("sound", [STILL, MOVING])
def test_what_follows_the_trailer_is_cut_off(sound: bytes) -> None:
    assert stripped(sound + b"<script>" + SECRET) == sound


def test_a_file_that_just_ends_is_stripped_too() -> None:
    assert stripped(before_each_frame(MOVING, comment(SECRET))[:-1]) == MOVING[:-1]


def test_a_comment_that_is_cut_off_goes() -> None:
    assert stripped(MOVING[:-1] + comment(SECRET * 9)[:-20]) == MOVING[:-1]


def test_a_file_that_tells_nothing_stays_as_it_is() -> None:
    assert stripped(MOVING) == MOVING


@pytest.mark.parametrize("size", [0, 6, 10])
def test_a_file_that_ends_in_its_header_is_not_taken_apart(size: int) -> None:
    assert strip_metadata(STILL[:size], "gif") is None


@pytest.mark.parametrize("block", [b"!\xf9\0", b"!\xce\0", b"!\xff\x0bNETSCAPE2.0\0"])
def test_an_extension_without_content_is_read_in_two_ways_and_left_alone(block: bytes) -> None:
    assert strip_metadata(before_each_frame(MOVING, block), "gif") is None
