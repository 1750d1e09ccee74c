"""Metadata out of files without decoding them, whatever the bytes."""

from __future__ import annotations

import io
import warnings
from typing import Any
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from replicate_proxy.images.stripping.strip import strip_metadata
from tests.support.pictures import decode_frames, encode_image, make_animation, make_photo

KINDS = ["jpeg", "png", "webp", "gif", "avif"]
TOLD = b"geo:52.52,13.40"
# More than any sound file here: a damaged header must not cost the tests' memory.
FEW_PIXELS = 100_000


def located() -> Image.Exif:
    exif = Image.Exif()
    exif[0x010E] = TOLD.decode()
    return exif


def sources() -> dict[str, list[bytes]]:
    """Of each kind a still and a moving picture, with something told in both."""
    still, size = make_photo(48, 32), (32, 24)
    told: dict[str, dict[str, Any]] = {name: {"exif": located()} for name in KINDS}
    told["gif"] = {"comment": TOLD}
    stills = {name: encode_image(still, name.upper(), **told[name]) for name in KINDS}
    moving = {
        name: make_animation(2, name.upper(), size=size, **told[name]) for name in KINDS if name != "jpeg"
    }
    return {name: [stills[name], moving.get(name, stills[name])] for name in KINDS}


SOURCES = sources()


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("moves", [False, True])
def test_what_is_told_goes_and_what_is_shown_stays(name: str, moves: bool) -> None:
    content = SOURCES[name][moves]
    assert TOLD in content

    stripped = strip_metadata(content, name)

    assert stripped is not None
    assert TOLD not in stripped
    assert decode_frames(stripped) == decode_frames(content)


@pytest.mark.parametrize("name", ["jpeg", "png", "webp", "avif"])
@pytest.mark.parametrize("moves", [False, True])
def test_what_may_stay_takes_its_place(name: str, moves: bool) -> None:
    kept = Image.Exif()
    kept[0x8298] = "(c) me"

    stripped = strip_metadata(SOURCES[name][moves], name, exif=kept.tobytes())

    assert stripped is not None
    assert decode_frames(stripped) == decode_frames(SOURCES[name][moves])
    with Image.open(io.BytesIO(stripped)) as image:
        assert dict(image.getexif()) == {0x8298: "(c) me"}


def test_other_formats_are_not_taken_apart() -> None:
    assert strip_metadata(b"II*\0", "tiff") is None


@given(st.sampled_from(KINDS), st.binary(max_size=200))
def test_any_bytes_are_stripped_or_not_taken_apart(name: str, content: bytes) -> None:
    stripped = strip_metadata(content, name)

    assert stripped is None or isinstance(stripped, bytes)


@pytest.mark.parametrize("name", KINDS)
@given(st.data())
def test_a_damaged_file_is_no_reason_to_fail(name: str, data: st.DataObject) -> None:
    content = bytearray(data.draw(st.sampled_from(SOURCES[name])))
    for _ in range(data.draw(st.integers(0, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    damaged = bytes(content[: data.draw(st.integers(0, len(content)))])

    stripped = strip_metadata(damaged, name)

    # One VP8X chunk is rewritten, none is added: what comes out is what went in, less some of it.
    assert stripped is None or len(stripped) <= max(len(damaged), 12)
    if name in {"gif", "avif"} and stripped is not None and (before := shown(damaged)):
        assert shown(stripped) == before


@pytest.mark.parametrize("name", ["gif", "avif"])
@given(st.data())
def test_one_wrong_byte_changes_nothing_of_what_is_shown(name: str, data: st.DataObject) -> None:
    """Near the start, where the headers are: most such files can still be read."""
    content = bytearray(data.draw(st.sampled_from(SOURCES[name])))
    content[data.draw(st.integers(0, min(1300, len(content) - 1)))] ^= 1 << data.draw(st.integers(0, 7))

    stripped = strip_metadata(bytes(content), name)

    if stripped is not None and (before := shown(bytes(content))):
        assert shown(stripped) == before


def shown(content: bytes) -> list[tuple[str, bytes, object]] | None:
    """The frames, or None for a file that Pillow does not read."""
    with mock.patch.object(Image, "MAX_IMAGE_PIXELS", FEW_PIXELS), warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            return decode_frames(content)
        except Exception:  # noqa: BLE001 - whatever a decoder makes of a damaged file, it is not shown
            return None
