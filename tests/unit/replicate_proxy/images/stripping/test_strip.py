"""Stripping metadata from files of all formats, valid and damaged."""

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
from tests.support.images import (
    SECRET,
    decode_frames,
    encode_image,
    make_animation,
    make_photo,
    strip_and_check,
)

FORMATS = ["jpeg", "png", "webp", "gif", "avif"]
# More than any valid file here has; a damaged header must not cost the test's memory.
MAX_PIXELS = 100_000


def make_secret_exif() -> Image.Exif:
    exif = Image.Exif()
    exif[0x010E] = SECRET.decode()
    return exif


def make_sources() -> dict[str, list[bytes]]:
    """Return a still image and an animation (for JPEG the same image) of each format, with metadata."""
    photo, size = make_photo(48, 32), (32, 24)
    metadata: dict[str, dict[str, Any]] = {name: {"exif": make_secret_exif()} for name in FORMATS}
    metadata["gif"] = {"comment": SECRET}
    stills = {name: encode_image(photo, name.upper(), **metadata[name]) for name in FORMATS}
    animations = {
        name: make_animation(2, name.upper(), size=size, **metadata[name])
        for name in FORMATS
        if name != "jpeg"
    }
    return {name: [stills[name], animations.get(name, stills[name])] for name in FORMATS}


SOURCES = make_sources()


def decode_or_none(content: bytes) -> list[tuple[str, bytes, object]] | None:
    """Return the frames, or None for a file that Pillow cannot read."""
    with mock.patch.object(Image, "MAX_IMAGE_PIXELS", MAX_PIXELS), warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            return decode_frames(content)
        except Exception:  # noqa: BLE001 - decoders raise all kinds of errors for a damaged file
            return None


@pytest.mark.parametrize("format_name", FORMATS)
@pytest.mark.parametrize("is_animated", [False, True])
def test_strip_removes_metadata_and_keeps_frames(format_name: str, is_animated: bool) -> None:
    content = SOURCES[format_name][is_animated]
    assert SECRET in content

    strip_and_check(content, format_name)


@pytest.mark.parametrize("format_name", ["jpeg", "png", "webp", "avif"])
@pytest.mark.parametrize("is_animated", [False, True])
def test_strip_writes_exif_to_keep(format_name: str, is_animated: bool) -> None:
    exif = Image.Exif()
    exif[0x8298] = "(c) me"

    stripped = strip_metadata(SOURCES[format_name][is_animated], format_name, exif=exif.tobytes())

    assert stripped is not None
    assert decode_frames(stripped) == decode_frames(SOURCES[format_name][is_animated])
    with Image.open(io.BytesIO(stripped)) as image:
        assert dict(image.getexif()) == {0x8298: "(c) me"}


def test_strip_returns_none_for_other_format() -> None:
    assert strip_metadata(b"II*\0", "tiff") is None


@given(st.sampled_from(FORMATS), st.binary(max_size=200))
def test_strip_never_raises_for_arbitrary_bytes(format_name: str, content: bytes) -> None:
    stripped = strip_metadata(content, format_name)

    assert stripped is None or isinstance(stripped, bytes)


@pytest.mark.parametrize("format_name", FORMATS)
@given(st.data())
def test_strip_never_raises_for_damaged_file(format_name: str, data: st.DataObject) -> None:
    content = bytearray(data.draw(st.sampled_from(SOURCES[format_name])))
    for _ in range(data.draw(st.integers(0, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    damaged = bytes(content[: data.draw(st.integers(0, len(content)))])

    stripped = strip_metadata(damaged, format_name)

    # Nothing is added to the file; 12 bytes are the RIFF header of an empty WebP.
    assert stripped is None or len(stripped) <= max(len(damaged), 12)
    if format_name in {"gif", "avif"} and stripped is not None and (before := decode_or_none(damaged)):
        assert decode_or_none(stripped) == before


@pytest.mark.parametrize("format_name", ["gif", "avif"])
@given(st.data())
def test_strip_keeps_frames_when_one_header_bit_is_wrong(format_name: str, data: st.DataObject) -> None:
    """Most files with a wrong bit near the start, where the headers are, can still be read."""
    content = bytearray(data.draw(st.sampled_from(SOURCES[format_name])))
    content[data.draw(st.integers(0, min(1300, len(content) - 1)))] ^= 1 << data.draw(st.integers(0, 7))

    stripped = strip_metadata(bytes(content), format_name)

    if stripped is not None and (before := decode_or_none(bytes(content))):
        assert decode_or_none(stripped) == before
