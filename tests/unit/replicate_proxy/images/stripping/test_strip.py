"""Stripping metadata from files of all formats, valid and damaged."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from replicate_proxy.images.containers import png, webp
from replicate_proxy.images.stripping.strip import strip_file
from tests.support.images import (
    SECRET,
    decode_frames,
    encode_image,
    make_animation,
    make_photo,
    strip,
    strip_and_check,
    write_file,
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

    stripped = strip(SOURCES[format_name][is_animated], format_name, exif.tobytes())

    assert stripped is not None
    assert decode_frames(stripped) == decode_frames(SOURCES[format_name][is_animated])
    with Image.open(io.BytesIO(stripped)) as image:
        assert dict(image.getexif()) == {0x8298: "(c) me"}


def test_strip_returns_none_for_other_format() -> None:
    assert strip(b"II*\0", "tiff") is None


def build_riff_chunk(name: bytes, body: bytes) -> bytes:
    return name + len(body).to_bytes(4, "little") + body + b"\0" * (len(body) % 2)


def build_webp(*chunks: bytes) -> bytes:
    body = b"WEBP" + b"".join(chunks)
    return b"RIFF" + len(body).to_bytes(4, "little") + body


@pytest.mark.parametrize("name", [b"EXIF", b"XMP ", b"note"])
def test_strip_removes_chunk_of_simple_webp(name: bytes) -> None:
    source = encode_image(make_photo(48, 32), "WEBP")

    assert strip_and_check(build_webp(source[12:], build_riff_chunk(name, SECRET)), "webp") == source


def test_strip_removes_unknown_chunk_within_frame_of_webp() -> None:
    source = make_animation(3, "WEBP", size=(32, 24))
    chunks = list(webp.read_chunks(source))
    content = build_webp(
        *(
            build_riff_chunk(
                chunk.name, source[chunk.start + 8 : chunk.end] + build_riff_chunk(b"note", SECRET)
            )
            if chunk.name == b"ANMF"
            else source[chunk.start : chunk.end]
            for chunk in chunks
        )
    )
    assert content.count(SECRET) == 3

    assert strip_and_check(content, "webp") == source


def test_strip_removes_bytes_after_webp() -> None:
    source = encode_image(make_photo(48, 32), "WEBP")

    assert strip_and_check(source + SECRET, "webp") == source


@pytest.mark.parametrize("name", [b"tEXt", b"zTXt", b"iTXt", b"eXIf", b"tIME", b"prVt", b"caBX"])
def test_strip_removes_png_chunk_anywhere_and_end_may_be_missing(name: bytes) -> None:
    source = encode_image(make_photo(48, 32))
    chunk = png.build_chunk(name, b"Comment\0" + SECRET)
    for position in [start.start for start in png.read_chunks(source)][1:]:
        content = source[:position] + chunk + source[position:]
        assert strip(content, "png") == source
        assert strip(content[:-12], "png") == source[:-12]


def test_strip_returns_none_for_junk_between_png_chunks() -> None:
    source = encode_image(make_photo(48, 32))

    assert strip(source[:-12] + b"\0" + source[-12:], "png") is None


@pytest.mark.parametrize("format_name", FORMATS)
def test_file_is_stripped_by_its_signature(format_name: str, tmp_path: Path) -> None:
    output = tmp_path / "output"
    source = SOURCES[format_name][0]
    stripped = strip(source, format_name)
    assert stripped is not None

    assert strip_file(write_file(tmp_path, source), output) is True
    assert output.read_bytes() == stripped
    output.unlink()
    assert strip_file(write_file(tmp_path, stripped), output) is False
    assert not output.exists()


@pytest.mark.parametrize("content", [b"", b"\0", b"II*\0", b"\x89PNG\r\n\x1a\n\0"])
def test_file_of_unknown_structure_is_not_written(content: bytes, tmp_path: Path) -> None:
    assert strip_file(write_file(tmp_path, content), tmp_path / "output") is None
    assert not (tmp_path / "output").exists()


@given(st.sampled_from(FORMATS), st.binary(max_size=200))
def test_strip_never_raises_for_arbitrary_bytes(format_name: str, content: bytes) -> None:
    stripped = strip(content, format_name)

    assert stripped is None or isinstance(stripped, bytes)


def test_header_that_ends_early_is_not_completed() -> None:
    header = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00"

    assert strip(header[:18], "jpeg") in (None, header[:2])


@pytest.mark.parametrize("format_name", FORMATS)
@given(st.data())
def test_strip_never_raises_for_damaged_file(format_name: str, data: st.DataObject) -> None:
    content = bytearray(data.draw(st.sampled_from(SOURCES[format_name])))
    for _ in range(data.draw(st.integers(0, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    damaged = bytes(content[: data.draw(st.integers(0, len(content)))])

    stripped = strip(damaged, format_name)

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

    stripped = strip(bytes(content), format_name)

    if stripped is not None and (before := decode_or_none(bytes(content))):
        assert decode_or_none(stripped) == before
