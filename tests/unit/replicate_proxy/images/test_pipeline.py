"""The image pipeline from file to file, without a child process: formats, colors, animations, limits."""

from __future__ import annotations

from typing import Any

import pytest
from PIL import Image, ImageChops, ImageCms, ImageStat

from replicate_proxy.images import quality
from replicate_proxy.images.encode import TargetFormat
from replicate_proxy.images.options import ImageOptions
from replicate_proxy.images.task import ImageLimits, ImageOutcome
from tests.support.images import Pipeline, encode_image, make_animation, make_photo


def measure_difference(first: Image.Image, second: Image.Image) -> float:
    """Return the mean difference, 0–255, of the channel that differs most."""
    return max(ImageStat.Stat(ImageChops.difference(first.convert("RGB"), second.convert("RGB"))).mean)


@pytest.mark.parametrize("target", ["webp", "avif", "jpeg"])
@pytest.mark.parametrize("source_format", ["PNG", "JPEG", "WEBP", "AVIF", "GIF"])
def test_image_of_any_allowed_format_becomes_requested_format(
    pipeline: Pipeline, source_format: str, target: TargetFormat
) -> None:
    best_quality: dict[str, dict[str, Any]] = {
        "JPEG": {"quality": 100},
        "WEBP": {"lossless": True},
        "AVIF": {"quality": 99},
    }
    photo = make_photo(320, 240)
    source = encode_image(photo, source_format, **best_quality.get(source_format, {}))

    result = pipeline.run(source, ImageOptions(format=target))

    assert (result.outcome, result.format) == (ImageOutcome.COMPRESSED, target)
    assert result.bytes_after < result.bytes_before
    assert (result.width, result.height) == (320, 240)
    output = pipeline.open_output()
    assert (output.format or "").lower() == target
    assert measure_difference(photo, output) < (16 if source_format == "GIF" else 6)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_png_of_any_mode_looks_the_same(pipeline: Pipeline, mode: str) -> None:
    original = {
        "1": lambda: make_photo(200, 150, mode="L").convert("1"),
        "P": lambda: make_photo(200, 150).quantize(200),
        "I;16": make_16_bit_photo,
    }.get(mode, lambda: make_photo(200, 150, mode=mode))()

    result = pipeline.run(encode_image(original))

    assert result.outcome is ImageOutcome.COMPRESSED
    expected = make_photo(200, 150, mode="L") if mode == "I;16" else original
    assert measure_difference(flatten(expected), flatten(pipeline.open_output())) < 8


def make_16_bit_photo() -> Image.Image:
    photo = make_photo(200, 150, mode="L")
    return photo.convert("I").point(lambda value: value * 257).convert("I;16")


def flatten(image: Image.Image) -> Image.Image:
    """Lay the image over white."""
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))


def test_transparency_is_kept_but_opaque_alpha_channel_is_removed(pipeline: Pipeline) -> None:
    pipeline.run(encode_image(make_photo(200, 150, mode="RGBA")))
    assert pipeline.open_output().mode == "RGBA"

    opaque = make_photo(200, 150)
    opaque.putalpha(255)
    pipeline.run(encode_image(opaque))
    assert pipeline.open_output().mode == "RGB"


def test_transparent_image_becomes_webp_when_jpeg_is_requested(pipeline: Pipeline) -> None:
    result = pipeline.run(encode_image(make_photo(200, 150, mode="RGBA")), ImageOptions(format="jpeg"))

    assert result.format == "webp"
    assert pipeline.open_output().mode == "RGBA"


def test_cmyk_is_converted_to_rgb(pipeline: Pipeline) -> None:
    photo = make_photo(200, 150)

    result = pipeline.run(encode_image(photo.convert("CMYK"), "JPEG", quality=100))

    assert result.outcome is ImageOutcome.COMPRESSED
    assert measure_difference(photo, pipeline.open_output()) < 12


@pytest.mark.parametrize("orientation", range(1, 9))
def test_output_is_upright_and_has_no_orientation(pipeline: Pipeline, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    photo = make_photo(200, 120)

    result = pipeline.run(encode_image(photo, "JPEG", quality=100, exif=exif))

    assert (result.width, result.height) == ((120, 200) if orientation >= 5 else (200, 120))
    output = pipeline.open_output()
    assert not output.getexif()
    transpositions = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }
    upright = photo if orientation == 1 else photo.transpose(transpositions[orientation])
    assert measure_difference(upright, output) < 6


def test_other_color_space_is_converted_to_srgb(pipeline: Pipeline) -> None:
    """The source's profile exchanges red and green, so in sRGB the channels are exchanged."""
    photo = make_photo(200, 150)

    result = pipeline.run(encode_image(photo, "PNG", icc_profile=make_swapped_profile()))

    assert result.outcome is ImageOutcome.COMPRESSED
    output = pipeline.open_output()
    assert "icc_profile" not in output.info
    red, green, blue = photo.split()
    assert measure_difference(Image.merge("RGB", (green, red, blue)), output) < 12


def make_swapped_profile() -> bytes:
    """Return the sRGB profile with its red and green primaries exchanged, under another name."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    data = bytearray(
        profile.replace(b"sRGB", b"swap").replace("sRGB".encode("utf-16-be"), "swap".encode("utf-16-be"))
    )
    tag_table_end = 132 + 12 * int.from_bytes(data[128:132])
    tags = {bytes(data[position : position + 4]): position for position in range(132, tag_table_end, 12)}
    red, green = tags[b"rXYZ"], tags[b"gXYZ"]
    data[red + 4 : red + 12], data[green + 4 : green + 12] = (
        data[green + 4 : green + 12],
        data[red + 4 : red + 12],
    )
    return bytes(data)


def test_invalid_color_profile_is_ignored(pipeline: Pipeline) -> None:
    photo = make_photo(200, 150)

    result = pipeline.run(encode_image(photo, icc_profile=b"no profile at all" * 20))

    assert result.outcome is ImageOutcome.COMPRESSED
    assert measure_difference(photo, pipeline.open_output()) < 6


@pytest.mark.parametrize(
    ("source_format", "target"), [("GIF", "webp"), ("PNG", "webp"), ("WEBP", "webp"), ("GIF", "avif")]
)
def test_animation_stays_animated(pipeline: Pipeline, source_format: str, target: TargetFormat) -> None:
    animation = make_animation(5, source_format, size=(160, 120))

    result = pipeline.run(animation, ImageOptions(format=target, min_score=-100))

    assert result.frame_count == 5
    if result.outcome is ImageOutcome.COMPRESSED:
        output = pipeline.open_output()
        assert getattr(output, "n_frames", 1) == 5
        output.seek(1)
        output.load()
        assert output.info["duration"] in {80, 79, 81}
    else:
        assert result.reason == "not_smaller"
    assert pipeline.open_thumbnail().size == (160, 120)


def test_animation_becomes_webp_when_jpeg_is_requested(pipeline: Pipeline) -> None:
    animation = make_animation(4, "PNG", size=(160, 120))

    result = pipeline.run(animation, ImageOptions(format="jpeg", min_score=-100))

    assert result.format == "webp"
    assert getattr(pipeline.open_output(), "n_frames", 1) == 4


def test_jpeg_with_further_pictures_is_processed_as_still_image(pipeline: Pipeline) -> None:
    first, second = make_photo(200, 150, seed=1), make_photo(200, 150, seed=2)

    result = pipeline.run(encode_image(first, "MPO", save_all=True, append_images=[second], quality=98))

    assert (result.outcome, result.source_format, result.frame_count) == (ImageOutcome.COMPRESSED, "jpeg", 1)
    assert measure_difference(first, pipeline.open_output()) < 6


@pytest.mark.parametrize("target", ["webp", "avif"])
def test_encoded_image_that_cannot_be_decoded_is_not_stored(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch, target: TargetFormat
) -> None:
    monkeypatch.setattr(quality, "encode_still", lambda *_, **__: b"no image")
    content = encode_image(make_photo(64, 48))

    result = pipeline.run(content, ImageOptions(format=target))

    assert (result.outcome, result.reason) == (ImageOutcome.UNMODIFIED, "encoding_failed")
    assert result.is_source_publishable


@pytest.mark.parametrize(
    ("size", "thumbnail_size"), [((1000, 500), (256, 128)), ((100, 50), (100, 50)), ((3000, 4), (256, 1))]
)
def test_thumbnail_fits_and_is_never_enlarged(
    pipeline: Pipeline, size: tuple[int, int], thumbnail_size: tuple[int, int]
) -> None:
    result = pipeline.run(encode_image(make_photo(*size)))

    thumbnail = pipeline.open_thumbnail()
    assert (thumbnail.format, thumbnail.size) == ("WEBP", thumbnail_size)
    assert result.thumbnail_bytes == pipeline.thumbnail.stat().st_size


class TestLimits:
    def test_image_of_too_many_pixels_is_not_decoded(self, pipeline: Pipeline) -> None:
        result = pipeline.run(encode_image(make_photo(200, 150)), limits=ImageLimits(max_pixels=29_999))
        assert (result.outcome, result.reason) == (ImageOutcome.UNMODIFIED, "too_many_pixels")

    def test_pixels_of_all_frames_are_counted(self, pipeline: Pipeline) -> None:
        limits = ImageLimits(max_pixels=64 * 48 * 5 - 1)
        assert pipeline.run(make_animation(5, "GIF"), limits=limits).reason == "too_many_pixels"

    def test_animation_of_too_many_frames_is_not_decoded(self, pipeline: Pipeline) -> None:
        result = pipeline.run(make_animation(5, "GIF"), limits=ImageLimits(max_frames=4))
        assert result.reason == "too_many_frames"

    def test_file_of_too_many_bytes_is_not_decoded(self, pipeline: Pipeline) -> None:
        result = pipeline.run(encode_image(make_photo()), limits=ImageLimits(max_bytes=100))
        assert result.reason == "too_many_bytes"

    @pytest.mark.parametrize("source_format", ["BMP", "TIFF", "ICO", "PPM", "TGA", "PCX", "PDF"])
    def test_other_format_is_not_decoded(self, pipeline: Pipeline, source_format: str) -> None:
        result = pipeline.run(encode_image(make_photo(), source_format))
        assert (result.outcome, result.reason) == (ImageOutcome.UNREADABLE, "format_not_allowed")

    @pytest.mark.parametrize("source_format", ["PNG", "JPEG", "WEBP", "GIF", "AVIF"])
    def test_truncated_file_is_unreadable(self, pipeline: Pipeline, source_format: str) -> None:
        content = encode_image(make_photo(), source_format)
        result = pipeline.run(content[: len(content) // 2])
        # Half an AVIF file does not even have a complete header.
        assert result.reason == ("format_not_allowed" if source_format == "AVIF" else "broken")
        assert result.outcome is ImageOutcome.UNREADABLE

    def test_image_too_wide_for_webp_becomes_jpeg(self, pipeline: Pipeline) -> None:
        result = pipeline.run(encode_image(make_photo(17_000, 20)))
        assert (result.outcome, result.format) == (ImageOutcome.COMPRESSED, "jpeg")
