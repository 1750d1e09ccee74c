"""The estimate of the score, compared with SSIMULACRA2 (`ssimulacra2` 0.3.0 from PyPI)."""

from __future__ import annotations

import io
from typing import Any

import pytest
from PIL import Image

from replicate_proxy.images.quality import build_sample
from replicate_proxy.images.score import ScoreReference
from tests.support.images import encode_image, make_photo, make_text

# SSIMULACRA2 compares six scales, for which an edge has at least 256 pixels.
SIZE = (400, 300)
GREEN, DARK, BLACK, WHITE = (60, 255, 90), (20, 20, 30), (0, 0, 0), (255, 255, 255)
FULL_COLOR = {"subsampling": "4:4:4"}
AVIF = FULL_COLOR | {"speed": 9}


def make_night() -> Image.Image:
    return make_photo(*SIZE, seed=3).point([value // 6 for value in range(256)] * 3)


PICTURES = {
    "photo": make_photo(*SIZE),
    "night": make_night(),
    "text": make_text(BLACK, WHITE, size=SIZE),
    "colored text": make_text(GREEN, DARK, size=SIZE),
}


def estimate_score(source: Image.Image, encoded: bytes) -> float:
    with Image.open(io.BytesIO(encoded)) as decoded:
        return ScoreReference(source).estimate_score(decoded)


@pytest.mark.parametrize(
    ("picture", "format_name", "options", "reference"),
    [
        ("photo", "WEBP", {"quality": 60}, 64.8),
        ("photo", "WEBP", {"quality": 90}, 81.2),
        ("photo", "AVIF", AVIF | {"quality": 50}, 71.4),
        ("photo", "JPEG", FULL_COLOR | {"quality": 80}, 81.1),
        ("night", "WEBP", {"quality": 60}, 75.4),
        ("night", "AVIF", AVIF | {"quality": 50}, 83.2),
        ("night", "JPEG", FULL_COLOR | {"quality": 80}, 87.6),
        ("text", "WEBP", {"quality": 60}, 87.0),
        ("text", "AVIF", AVIF | {"quality": 50}, 64.9),
        ("text", "AVIF", AVIF | {"quality": 75}, 88.1),
        ("text", "JPEG", FULL_COLOR | {"quality": 80}, 79.8),
        ("colored text", "AVIF", AVIF | {"quality": 75}, 69.0),
        ("colored text", "JPEG", FULL_COLOR | {"quality": 80}, 69.7),
    ],
)
def test_estimate_is_close_to_ssimulacra2(
    picture: str, format_name: str, options: dict[str, Any], reference: float
) -> None:
    source = PICTURES[picture]

    assert estimate_score(source, encode_image(source, format_name, **options)) == pytest.approx(
        reference, abs=6
    )


@pytest.mark.parametrize("quality", [80, 100])
def test_estimate_of_colored_text_at_half_resolution_of_color_is_bad(quality: int) -> None:
    """SSIMULACRA2 is 33 and below; structural similarity on luma is above 0.97."""
    source = PICTURES["colored text"]

    assert estimate_score(source, encode_image(source, "WEBP", quality=quality)) < 50


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
@pytest.mark.parametrize("size", [(1, 1), (7, 3), (8, 8), (33, 31), (900, 700), (1, 4_000)])
def test_score_of_equal_images_is_100(mode: str, size: tuple[int, int]) -> None:
    image = make_photo(*size, mode=mode)

    assert ScoreReference(image).estimate_score(image.copy()) == pytest.approx(100, abs=0.1)


@pytest.mark.parametrize("size", [(1, 1), (5, 5), (300, 2)])
def test_small_image_of_another_color_has_bad_score(size: tuple[int, int]) -> None:
    reference = ScoreReference(Image.new("RGB", size, (200, 40, 40)))

    assert reference.estimate_score(Image.new("RGB", size, (40, 200, 40))) < 50


def test_color_under_full_transparency_does_not_count() -> None:
    red, blue = Image.new("RGBA", (64, 64), (255, 0, 0, 0)), Image.new("RGBA", (64, 64), (0, 0, 255, 0))

    assert ScoreReference(red).estimate_score(blue) == pytest.approx(100)


def test_lost_transparency_has_bad_score() -> None:
    photo = make_photo(*SIZE, mode="RGBA")
    opaque = photo.copy()
    opaque.putalpha(255)

    assert ScoreReference(photo).estimate_score(opaque) < 50


def test_images_of_different_size_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="differ in size"):
        ScoreReference(Image.new("RGB", (64, 64))).estimate_score(Image.new("RGB", (64, 65)))


@pytest.mark.parametrize("size", [(1000, 800), (2400, 1800)])
def test_score_of_sample_is_close_to_that_of_image(size: tuple[int, int]) -> None:
    photo = make_photo(*size)
    sample = build_sample(photo)
    assert sample.width * sample.height < photo.width * photo.height / 4

    whole = estimate_score(photo, encode_image(photo, "WEBP", quality=75))

    assert estimate_score(sample, encode_image(sample, "WEBP", quality=75)) == pytest.approx(whole, abs=7)
