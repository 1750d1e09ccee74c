"""The image pipeline from file to file, without a child process."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageChops, ImageCms, ImageStat, PngImagePlugin

from replicate_proxy.images import quality, still
from replicate_proxy.images.color_check import is_color_right
from replicate_proxy.images.encode import TargetFormat, choose_format, encode_still
from replicate_proxy.images.options import ImageOptions
from replicate_proxy.images.still import StillImage
from replicate_proxy.images.task import EncodingFailedError, ImageLimits, ImageOutcome, ImageReason
from tests.support.images import (
    SECRET,
    Pipeline,
    decode_frames,
    encode_image,
    make_animation,
    make_photo,
    make_text,
    strip,
)


@pytest.fixture
def pipeline(tmp_path: Path) -> Pipeline:
    return Pipeline(tmp_path)


def measure_difference(first: Image.Image, second: Image.Image) -> float:
    """Return the mean difference, 0–255, of the channel that differs most."""
    return max(ImageStat.Stat(ImageChops.difference(first.convert("RGB"), second.convert("RGB"))).mean)


def measure_alpha_difference(first: Image.Image, second: Image.Image) -> int:
    """Return the largest difference of transparency, 0–255."""
    difference = ImageChops.difference(first.getchannel("A"), second.getchannel("A"))
    return int(difference.getextrema()[1])  # type: ignore[arg-type] # one channel has two numbers


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


def test_output_is_never_larger_than_source(pipeline: Pipeline) -> None:
    for seed in range(5):
        source = encode_image(make_photo(200, 150, seed=seed), "WEBP", quality=20)
        result = pipeline.run(source)
        assert result.bytes_after <= len(source)


def test_original_format_writes_thumbnail_and_no_output(pipeline: Pipeline) -> None:
    result = pipeline.run(encode_image(make_photo(400, 300)), ImageOptions(format="original"))

    assert (result.outcome, result.reason) == (ImageOutcome.UNMODIFIED, "original_requested")
    assert result.sha256 == ""
    assert not pipeline.output.exists()
    assert result.placeholder
    assert pipeline.open_thumbnail().size == (256, 192)


@pytest.mark.parametrize("target", ["webp", "avif", "jpeg"])
@pytest.mark.parametrize("target_score", [66, 73, 82])
def test_quality_is_chosen_for_target_score(
    pipeline: Pipeline, target: TargetFormat, target_score: float
) -> None:
    source = encode_image(make_photo(300, 300))

    result = pipeline.run(source, ImageOptions(format=target, target_score=target_score))

    assert result.outcome is ImageOutcome.COMPRESSED
    assert result.score == pytest.approx(target_score, abs=4)


def test_image_is_unmodified_when_no_quality_reaches_minimum_score(pipeline: Pipeline) -> None:
    options = ImageOptions(format="jpeg", min_score=99.9)

    result = pipeline.run(encode_image(make_photo(200, 150)), options)

    assert (result.outcome, result.reason) == (ImageOutcome.UNMODIFIED, "below_min_score")


def test_image_is_compressed_without_loss_when_no_quality_reaches_minimum_score(pipeline: Pipeline) -> None:
    photo = make_photo(200, 150)

    result = pipeline.run(encode_image(photo), ImageOptions(min_score=99.9))

    assert (result.outcome, result.format, result.score) == (ImageOutcome.COMPRESSED, "webp", 100)
    assert pipeline.open_output().convert("RGB").tobytes() == photo.tobytes()


def test_requested_quality_is_used_below_minimum_score(pipeline: Pipeline) -> None:
    options = ImageOptions(quality=5, min_score=99)

    result = pipeline.run(encode_image(make_photo(200, 150)), options)

    assert (result.outcome, result.quality) == (ImageOutcome.COMPRESSED, 5)
    assert (result.score or 100) < 99


class TestAutomaticFormat:
    @pytest.mark.parametrize(("accepts_avif", "expected"), [(False, "webp"), (True, "avif")])
    def test_photo_becomes_avif_if_request_accepts_it(
        self, pipeline: Pipeline, accepts_avif: bool, expected: str
    ) -> None:
        result = pipeline.run(encode_image(make_photo(320, 240)), ImageOptions(accepts_avif=accepts_avif))

        assert (result.outcome, result.format) == (ImageOutcome.COMPRESSED, expected)

    @pytest.mark.parametrize("chosen", ["webp", "jpeg"])
    def test_chosen_format_is_used_though_request_accepts_avif(
        self, pipeline: Pipeline, chosen: TargetFormat
    ) -> None:
        options = ImageOptions(format=chosen, accepts_avif=True)

        assert pipeline.run(encode_image(make_photo(320, 240)), options).format == chosen

    def test_flat_drawing_becomes_lossless_webp_which_is_smaller(self, pipeline: Pipeline) -> None:
        drawing = make_photo(300, 200).quantize(8).convert("RGB").resize((900, 600), Image.Resampling.NEAREST)

        result = pipeline.run(encode_image(drawing), ImageOptions(accepts_avif=True))

        assert (result.format, result.quality, result.score) == ("webp", None, 100)

    def test_transparent_photo_becomes_transparent_avif(self, pipeline: Pipeline) -> None:
        photo = make_photo(320, 240, mode="RGBA")

        result = pipeline.run(encode_image(photo), ImageOptions(accepts_avif=True))

        assert (result.outcome, result.format) == (ImageOutcome.COMPRESSED, "avif")
        assert measure_alpha_difference(pipeline.open_output(), photo) <= 3

    def test_colored_text_in_photo_becomes_jpeg_in_full_color(self, pipeline: Pipeline) -> None:
        photo = make_photo(600, 400)
        photo.paste(make_text((255, 0, 0), (0, 0, 200), size=(150, 60)), (200, 100))

        result = pipeline.run(encode_image(photo))

        assert (result.outcome, result.format) == (ImageOutcome.COMPRESSED, "jpeg")
        assert is_color_right(photo, pipeline.open_output())

    def test_animation_becomes_webp(self, pipeline: Pipeline) -> None:
        content = make_animation(3, "PNG") + b"\0" * 100_000

        assert pipeline.run(content, ImageOptions(accepts_avif=True)).format == "webp"

    @pytest.mark.parametrize(
        ("size", "expected"),
        [((2048, 2048), "avif"), ((2100, 2048), "webp"), ((32_768, 100), "avif"), ((16_383, 300), "webp")],
    )
    def test_size_for_which_avif_takes_too_much_memory_becomes_webp(
        self, size: tuple[int, int], expected: str
    ) -> None:
        assert choose_format(ImageOptions(accepts_avif=True), size) == expected

    def test_image_becomes_webp_when_avif_cannot_be_encoded(
        self, pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail_for_avif(image: Image.Image, format_name: TargetFormat, *args: Any, **options: Any) -> bytes:
            if format_name == "avif":
                raise EncodingFailedError("memory_limit")
            return encode_still(image, format_name, *args, **options)

        monkeypatch.setattr(quality, "encode_still", fail_for_avif)

        result = pipeline.run(encode_image(make_photo(320, 240)), ImageOptions(accepts_avif=True))

        assert (result.outcome, result.format) == (ImageOutcome.COMPRESSED, "webp")


def test_drawing_of_few_colors_is_compressed_without_loss(pipeline: Pipeline) -> None:
    few_colors = make_photo(300, 200).quantize(8).convert("RGB")
    drawing = few_colors.resize((900, 600), Image.Resampling.NEAREST)

    result = pipeline.run(encode_image(drawing))

    assert (result.outcome, result.score) == (ImageOutcome.COMPRESSED, 100)
    assert pipeline.open_output().convert("RGB").tobytes() == drawing.tobytes()


def make_colored_text() -> Image.Image:
    """Return red text on blue shades, more than 256 colors in all."""
    text = make_text((255, 0, 0), (0, 0, 120))
    shades = Image.linear_gradient("L").resize(text.size).point(lambda value: value // 4)
    red, green, blue = text.split()
    text = Image.merge("RGB", (red, green, ImageChops.add(blue, shades)))
    assert text.getcolors(256) is None
    return text


def test_colored_text_is_compressed_without_loss(pipeline: Pipeline) -> None:
    text = make_colored_text()

    result = pipeline.run(encode_image(text) + b"\0" * 200_000, ImageOptions(format="webp"))

    assert (result.outcome, result.quality, result.score) == (ImageOutcome.COMPRESSED, None, 100)
    assert pipeline.open_output().convert("RGB").tobytes() == text.tobytes()


@pytest.mark.parametrize("target", ["avif", "jpeg"])
def test_colored_text_is_compressed_in_full_color(pipeline: Pipeline, target: TargetFormat) -> None:
    text = make_colored_text()

    result = pipeline.run(encode_image(text) + b"\0" * 200_000, ImageOptions(format=target))

    assert (result.outcome, result.format) == (ImageOutcome.COMPRESSED, target)
    assert is_color_right(text, pipeline.open_output())
    assert (result.score or 0) > 65


def test_colored_text_in_photo_is_compressed_without_loss(pipeline: Pipeline) -> None:
    photo = make_photo(600, 400)
    photo.paste(make_text((255, 0, 0), (0, 0, 200), size=(150, 60)), (200, 100))

    result = pipeline.run(encode_image(photo), ImageOptions(format="webp"))

    assert (result.outcome, result.score) == (ImageOutcome.COMPRESSED, 100)


@pytest.mark.parametrize("target", ["webp", "avif"])
def test_animation_of_colored_text_keeps_its_colors(pipeline: Pipeline, target: TargetFormat) -> None:
    texts = [make_text((255, 0, 0), (0, 0, 120 + 20 * index)) for index in range(3)]
    content = encode_image(texts[0], save_all=True, append_images=texts[1:], duration=80)

    result = pipeline.run(content + b"\0" * 500_000, ImageOptions(format=target))

    assert (result.outcome, result.format) == (ImageOutcome.COMPRESSED, target)
    assert (result.score == 100) == (target == "webp")
    output = pipeline.open_output()
    for index, text in enumerate(texts):
        output.seek(index)
        assert is_color_right(text, output.convert("RGB"))


def test_requested_quality_of_webp_is_used_for_colored_text(pipeline: Pipeline) -> None:
    result = pipeline.run(encode_image(make_colored_text()) + b"\0" * 200_000, ImageOptions(quality=70))

    assert (result.outcome, result.quality) == (ImageOutcome.COMPRESSED, 70)
    assert (result.score or 0) < 50


def test_drawing_of_many_colors_is_compressed_without_loss_if_smaller(pipeline: Pipeline) -> None:
    shades = [Image.linear_gradient("L").rotate(turn).resize((600, 400)) for turn in (0, 90, 180)]
    drawing = Image.merge("RGB", shades)
    assert drawing.getcolors(256) is None

    result = pipeline.run(encode_image(drawing))

    assert (result.outcome, result.score) == (ImageOutcome.COMPRESSED, 100)


@pytest.mark.parametrize("reason", ["memory_limit", "encoding_failed"])
def test_lossy_result_is_kept_when_lossless_encoding_fails(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch, reason: ImageReason
) -> None:
    def fail(*_: object, **__: object) -> bytes:
        raise EncodingFailedError(reason)

    monkeypatch.setattr(still, "encode_lossless", fail)
    drawing = make_photo(300, 200).quantize(64).convert("RGB")

    result = pipeline.run(encode_image(drawing), ImageOptions(min_score=-100))

    assert (result.outcome, result.reason) == (ImageOutcome.COMPRESSED, "")
    assert result.quality is not None


@pytest.mark.parametrize(
    ("size", "is_transparent", "expected"),
    [
        ((40_000, 100), False, (ImageOutcome.COMPRESSED, "", "jpeg")),
        ((33_000, 8), False, (ImageOutcome.COMPRESSED, "", "jpeg")),
        ((32_000, 8), False, (ImageOutcome.COMPRESSED, "", "avif")),
        ((40_000, 100), True, (ImageOutcome.UNMODIFIED, "encoding_failed", "png")),
        ((70_000, 4), False, (ImageOutcome.UNMODIFIED, "encoding_failed", "png")),
    ],
)
def test_image_too_wide_for_avif_becomes_format_that_holds_it(
    pipeline: Pipeline, size: tuple[int, int], is_transparent: bool, expected: tuple[str, str, str]
) -> None:
    image = make_photo(400, 100, mode="RGBA" if is_transparent else "RGB").resize(size)

    content = encode_image(image) + b"\0" * 1_000_000
    result = pipeline.run(content, ImageOptions(format="avif", min_score=-100))

    assert (result.outcome, result.reason, result.format) == expected
    assert result.is_publishable


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
