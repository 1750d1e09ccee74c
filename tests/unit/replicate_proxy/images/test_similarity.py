"""Similarity, compared with scikit-image's `structural_similarity` (0.26, luma, 7×7 window)."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from replicate_proxy.images.similarity import calculate_similarity
from tests.support.images import encode_image, make_photo


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

    assert calculate_similarity(original, copy) == pytest.approx(reference, abs=0.01)


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
