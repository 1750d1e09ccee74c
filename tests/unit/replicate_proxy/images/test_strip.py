"""Metadata out of files without decoding them, whatever the bytes."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from replicate_proxy.images.strip import strip
from tests.support.pictures import encoded, photo

SOURCES = {name: encoded(photo(48, 32), name.upper()) for name in ("jpeg", "png", "webp")}


@pytest.mark.parametrize("name", ["jpeg", "png", "webp"])
def test_pixels_stay(name: str) -> None:
    stripped = strip(SOURCES[name], name)

    assert stripped is not None
    assert pixels(stripped) == pixels(SOURCES[name])


@pytest.mark.parametrize("name", ["gif", "avif", "tiff"])
def test_other_formats_are_not_taken_apart(name: str) -> None:
    assert strip(b"GIF89a", name) is None


@given(st.sampled_from(["jpeg", "png", "webp"]), st.binary(max_size=200))
def test_any_bytes_are_stripped_or_not_taken_apart(name: str, content: bytes) -> None:
    stripped = strip(content, name)

    assert stripped is None or isinstance(stripped, bytes)


@given(st.sampled_from(["jpeg", "png", "webp"]), st.data())
def test_a_damaged_file_is_no_reason_to_fail(name: str, data: st.DataObject) -> None:
    content = bytearray(SOURCES[name])
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(content)))

    stripped = strip(bytes(content[:cut]), name)

    # One VP8X chunk is rewritten, none is added: what comes out is what went in, less some of it.
    assert stripped is None or len(stripped) <= max(cut, 12)


def pixels(content: bytes) -> bytes:
    with Image.open(io.BytesIO(content)) as image:
        return image.tobytes()
