"""Similarity, compared with scikit-image's `structural_similarity` (0.26, luma, 7×7 window)."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from replicate_proxy.images.similarity import (
    calculate_color_similarity,
    calculate_similarity,
    calculate_structural_similarity,
)
from tests.support.images import encode_image, make_photo, make_text


@pytest.mark.parametrize(
    ("size", "quality", "reference"),
    [
        ((320, 240), 10, 0.8611),
        ((320, 240), 50, 0.8905),
        ((320, 240), 80, 0.9124),
        ((320, 240), 95, 0.9645),
        ((1024, 768), 10, 0.8649),
        ((1024, 768), 50, 0.8761),
        ((1024, 768), 80, 0.8998),
        ((1024, 768), 95, 0.9593),
    ],
)
def test_similarity_is_close_to_reference_implementation(
    size: tuple[int, int], quality: int, reference: float
) -> None:
    original = make_photo(*size)
    copy = Image.open(io.BytesIO(encode_image(original, "JPEG", quality=quality)))

    assert calculate_structural_similarity(original, copy) == pytest.approx(reference, abs=0.01)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
@pytest.mark.parametrize("size", [(1, 1), (7, 3), (8, 8), (900, 700), (1, 400_000)])
def test_similarity_of_equal_images_is_one(mode: str, size: tuple[int, int]) -> None:
    image = make_photo(*size, mode=mode)

    assert calculate_similarity(image, image.copy()) == pytest.approx(1, abs=1e-4)


def test_similarity_of_black_and_white_is_near_zero() -> None:
    black, white = Image.new("L", (64, 64), 0), Image.new("L", (64, 64), 255)

    assert calculate_similarity(black, white) < 0.01


def test_similarity_ignores_color_under_full_transparency() -> None:
    red, blue = Image.new("RGBA", (64, 64), (255, 0, 0, 0)), Image.new("RGBA", (64, 64), (0, 0, 255, 0))

    assert calculate_similarity(red, blue) == pytest.approx(1)


RED, BLUE, GREEN, DARK = (255, 0, 0), (0, 0, 200), (60, 255, 90), (20, 20, 30)


@pytest.mark.parametrize(("color", "ground"), [(RED, BLUE), ((255, 0, 255), (0, 120, 0)), (GREEN, DARK)])
@pytest.mark.parametrize("quality", [80, 100])
def test_colored_text_at_half_resolution_of_color_is_not_similar(
    color: tuple[int, int, int], ground: tuple[int, int, int], quality: int
) -> None:
    original = make_text(color, ground)
    copy = Image.open(io.BytesIO(encode_image(original, "WEBP", quality=quality)))

    assert calculate_structural_similarity(original, copy) > 0.945
    assert calculate_similarity(original, copy) == calculate_color_similarity(original, copy) < 0.8


@pytest.mark.parametrize(("color", "ground"), [(RED, BLUE), (GREEN, DARK)])
def test_colored_text_at_full_resolution_of_color_is_similar(
    color: tuple[int, int, int], ground: tuple[int, int, int]
) -> None:
    original = make_text(color, ground)
    content = encode_image(original, "JPEG", quality=90, subsampling="4:4:4")

    assert calculate_color_similarity(original, Image.open(io.BytesIO(content))) > 0.945


@pytest.mark.parametrize("place", [(0, 0), (450, 700), (3000, 1900)])
def test_single_word_of_wrong_color_in_large_image_counts(place: tuple[int, int]) -> None:
    original = make_photo(256, 256).resize((3200, 2000))
    copy = original.copy()
    word = make_text(RED, BLUE, size=(110, 40))
    original.paste(word, place)
    copy.paste(Image.open(io.BytesIO(encode_image(word, "WEBP", quality=80))), place)

    assert calculate_color_similarity(original, copy) < 0.945


@pytest.mark.parametrize("format_name", ["WEBP", "JPEG", "AVIF"])
def test_color_of_photo_with_grain_is_similar(format_name: str) -> None:
    photo = make_photo(400, 300)
    channels = (Image.effect_noise((400, 300), 60) for _ in range(3))
    grainy = Image.blend(photo, Image.merge("RGB", list(channels)), 0.08)

    for image in (photo, grainy):
        copy = Image.open(io.BytesIO(encode_image(image, format_name, quality=80)))
        assert calculate_color_similarity(image, copy) > 0.97


@pytest.mark.parametrize("mode", ["L", "RGBA"])
def test_color_that_is_not_seen_does_not_count(mode: str) -> None:
    text = make_text(RED, BLUE).convert(mode)
    if mode == "RGBA":
        text.putalpha(0)
    copy = Image.open(io.BytesIO(encode_image(text, "WEBP", quality=50)))

    assert calculate_color_similarity(text, copy) == 1.0
