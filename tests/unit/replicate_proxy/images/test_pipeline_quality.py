"""How the image pipeline chooses quality and encoding."""

from __future__ import annotations

from typing import Any

import pytest
from PIL import Image, ImageChops

from replicate_proxy.images import quality, still
from replicate_proxy.images.color_check import is_color_right
from replicate_proxy.images.encode import TargetFormat, choose_format, encode_still
from replicate_proxy.images.options import ImageOptions
from replicate_proxy.images.task import EncodingFailedError, ImageOutcome, ImageReason
from tests.support.images import Pipeline, encode_image, make_animation, make_photo, make_text


def measure_alpha_difference(first: Image.Image, second: Image.Image) -> int:
    """Return the largest difference of transparency, 0–255."""
    difference = ImageChops.difference(first.getchannel("A"), second.getchannel("A"))
    return int(difference.getextrema()[1])  # type: ignore[arg-type] # one channel has two numbers


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
