"""What the image pipeline keeps of metadata, and what it removes."""

from __future__ import annotations

import hashlib
import io
from typing import Any

import pytest
from PIL import Image, PngImagePlugin

from replicate_proxy.images.encode import TargetFormat
from replicate_proxy.images.options import ImageOptions
from replicate_proxy.images.still import StillImage
from replicate_proxy.images.task import EncodingFailedError, ImageLimits, ImageOutcome
from tests.support.images import (
    SECRET,
    Pipeline,
    decode_frames,
    encode_image,
    make_animation,
    make_photo,
    strip,
)


def test_png_texts_are_in_result_and_not_in_output(pipeline: Pipeline) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("prompt", "a cat in the rain")
    info.add_text("seed", "42", zip=True)
    info.add_itxt("parameters", "Größe: 512")

    result = pipeline.run(encode_image(make_photo(200, 150), pnginfo=info))

    assert result.text == {"prompt": "a cat in the rain", "seed": "42", "parameters": "Größe: 512"}
    assert b"cat" not in pipeline.output.read_bytes()


def test_exif_user_comment_is_in_result(pipeline: Pipeline) -> None:
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9286] = b"UNICODE\0" + "seed: 7, prompt: é".encode("utf-16-be")

    result = pipeline.run(encode_image(make_photo(200, 150), "JPEG", quality=98, exif=exif))

    assert result.text["exif:UserComment"] == "seed: 7, prompt: é"


def test_long_texts_are_truncated_and_marked(pipeline: Pipeline) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("workflow", "x" * 50_000)
    info.add_text("seed", "1")
    source = encode_image(make_photo(200, 150), pnginfo=info)

    result = pipeline.run(source, limits=ImageLimits(max_text_bytes=1000))

    assert sum(len(name.encode()) + len(text.encode()) for name, text in result.text.items()) <= 1000
    assert result.text["workflow"].endswith("(cut)")


def make_exif() -> Image.Exif:
    """Return copyright, artist and a position."""
    exif = Image.Exif()
    exif[0x8298] = "(c) A. Person"
    exif[0x013B] = "A. Person"
    exif.get_ifd(0x8825)[1] = "N"
    exif.get_ifd(0x8825)[2] = (52.0, 31.0, 12.0)
    return exif


@pytest.mark.parametrize("target", ["webp", "avif", "jpeg"])
@pytest.mark.parametrize("keep_copyright", [False, True])
def test_compressed_image_has_no_position_and_copyright_only_if_configured(
    pipeline: Pipeline, target: TargetFormat, keep_copyright: bool
) -> None:
    options = ImageOptions(format=target, keep_copyright=keep_copyright)

    pipeline.run(encode_image(make_photo(200, 150), "PNG", exif=make_exif()), options)

    exif = pipeline.open_output().getexif()
    assert not exif.get_ifd(0x8825)
    assert exif.get(0x8298) == ("(c) A. Person" if keep_copyright else None)
    assert set(exif) <= {0x8298, 0x013B}


@pytest.mark.parametrize("source_format", ["JPEG", "WEBP", "PNG", "AVIF"])
@pytest.mark.parametrize("keep_copyright", [False, True])
def test_unmodified_image_keeps_pixels_and_loses_position(
    pipeline: Pipeline, source_format: str, keep_copyright: bool
) -> None:
    """No quality reaches the minimum score, so the pixels are stored unmodified."""
    exif = make_exif()
    exif[0x0112] = 6
    quality = {} if source_format == "PNG" else {"quality": 5}
    content = encode_image(make_photo(200, 150), source_format, exif=exif, **quality)

    result = pipeline.run(content, ImageOptions(format="avif", min_score=101, keep_copyright=keep_copyright))

    assert (result.outcome, result.reason) == (ImageOutcome.UNMODIFIED, "below_min_score")
    output = pipeline.open_output()
    assert not output.getexif().get_ifd(0x8825)
    assert output.getexif().get(0x8298) == ("(c) A. Person" if keep_copyright else None)
    assert (b"A. Person" in pipeline.output.read_bytes()) == keep_copyright
    assert output.tobytes() == Image.open(io.BytesIO(content)).tobytes()
    assert output.getexif()[0x0112] == 6
    assert result.bytes_after == len(pipeline.output.read_bytes()) <= result.bytes_before
    assert result.sha256 == hashlib.sha256(pipeline.output.read_bytes()).hexdigest()


@pytest.mark.parametrize("source_format", ["GIF", "AVIF"])
def test_unmodified_animation_keeps_frames_and_loses_metadata(pipeline: Pipeline, source_format: str) -> None:
    metadata: dict[str, dict[str, Any]] = {"GIF": {"comment": b"A. Person"}, "AVIF": {"exif": make_exif()}}
    content = make_animation(3, source_format, **metadata[source_format])

    result = pipeline.run(content, ImageOptions(format="avif", min_score=101))

    assert (result.outcome, result.format) == (ImageOutcome.UNMODIFIED, source_format.lower())
    assert result.frame_count == 3
    assert b"A. Person" in content
    assert b"A. Person" not in pipeline.output.read_bytes()
    assert decode_frames(pipeline.output.read_bytes()) == decode_frames(content)


def test_unmodified_image_loses_bytes_after_its_end(pipeline: Pipeline) -> None:
    content = encode_image(make_photo(100, 80), "JPEG", quality=5) + b"PK\x03\x04<script>alert(1)</script>"

    result = pipeline.run(content, ImageOptions(quality=100))

    assert result.outcome is ImageOutcome.UNMODIFIED
    assert b"script" not in pipeline.output.read_bytes()


@pytest.mark.parametrize("source_format", ["GIF", "JPEG", "AVIF"])
def test_image_of_unknown_structure_is_encoded_without_metadata(
    pipeline: Pipeline, source_format: str
) -> None:
    """The files can be decoded, but not be stripped; no quality reaches the minimum score."""
    photo = make_photo(48, 32)
    if source_format == "GIF":
        content = encode_image(photo, "GIF", comment=SECRET).replace(b"!\xfe", b"!\xce\0\0!\xfe", 1)
    elif source_format == "JPEG":
        content = encode_image(photo, "JPEG", comment=SECRET)
        content = content[:2] + b"\xff\xe5\0\0" + content[2:]
    else:
        content = encode_image(photo, "AVIF", xmp=SECRET) + b"\0\0\0\x08moof"
    assert strip(content, source_format.lower()) is None

    result = pipeline.run(content, ImageOptions(format="jpeg", min_score=101))

    assert (result.outcome, result.reason) == (ImageOutcome.UNMODIFIED, "below_min_score")
    assert (result.format, result.source_format) == ("webp", source_format.lower())
    assert SECRET not in pipeline.output.read_bytes()
    assert decode_frames(pipeline.output.read_bytes())[0][1] == decode_frames(content)[0][1]
    assert result.bytes_after == pipeline.output.stat().st_size


def test_animation_of_unknown_structure_is_encoded_without_metadata(pipeline: Pipeline) -> None:
    content = make_animation(3, "GIF", size=(48, 32), comment=SECRET)
    content = content.replace(b"!\xf9", b"!\xce\0\0!\xf9", 1)
    assert strip(content, "gif") is None

    result = pipeline.run(content, ImageOptions(format="avif", min_score=101))

    assert (result.outcome, result.format, result.frame_count) == (ImageOutcome.UNMODIFIED, "webp", 3)
    assert SECRET not in pipeline.output.read_bytes()
    frames, expected = decode_frames(pipeline.output.read_bytes()), decode_frames(content)
    assert [pixels for _, pixels, _ in frames] == [pixels for _, pixels, _ in expected]


def test_image_that_cannot_be_encoded_or_stripped_is_not_published(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> bytes:
        raise EncodingFailedError("encoding_failed")

    monkeypatch.setattr(StillImage, "encode_unmodified", fail)
    content = encode_image(make_photo(48, 32), "GIF", comment=SECRET).replace(b"!\xfe", b"!\xce\0\0!\xfe", 1)

    result = pipeline.run(content, ImageOptions(format="jpeg", min_score=101))

    assert not result.is_publishable
    assert not pipeline.output.exists()


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (ImageLimits(max_pixels=100), "too_many_pixels"),
        (ImageLimits(max_bytes=100), "too_many_bytes"),
    ],
)
@pytest.mark.parametrize("source_format", ["JPEG", "PNG", "WEBP", "AVIF"])
def test_image_over_limit_is_stored_without_metadata(
    pipeline: Pipeline, source_format: str, limits: ImageLimits, reason: str
) -> None:
    exif = make_exif()
    exif[0x0112] = 6
    content = encode_image(make_photo(200, 150), source_format, exif=exif)

    result = pipeline.run(content, ImageOptions(keep_copyright=True), limits)

    assert (result.outcome, result.reason) == (ImageOutcome.UNMODIFIED, reason)
    output = pipeline.open_output()
    assert not output.getexif().get_ifd(0x8825)
    assert (output.getexif()[0x0112], output.getexif()[0x8298]) == (6, "(c) A. Person")
    assert output.tobytes() == Image.open(io.BytesIO(content)).tobytes()


@pytest.mark.parametrize("source_format", ["JPEG", "PNG"])
def test_broken_image_is_stored_without_metadata(pipeline: Pipeline, source_format: str) -> None:
    content = encode_image(make_photo(200, 150), source_format, exif=make_exif())

    result = pipeline.run(content[: len(content) * 2 // 3])

    assert result.outcome is ImageOutcome.UNREADABLE
    assert result.is_publishable
    assert b"A. Person" not in pipeline.output.read_bytes()
