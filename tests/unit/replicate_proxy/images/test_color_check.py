"""Colors that an encoder changes by halving their resolution are found."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from replicate_proxy.images.color_check import is_color_right
from tests.support.images import encode_image, make_photo, make_text

RED, BLUE, GREEN, DARK = (255, 0, 0), (0, 0, 200), (60, 255, 90), (20, 20, 30)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
@pytest.mark.parametrize("size", [(1, 1), (7, 3), (8, 8), (900, 700), (1, 400_000)])
def test_color_of_equal_images_is_right(mode: str, size: tuple[int, int]) -> None:
    image = make_photo(*size, mode=mode)

    assert is_color_right(image, image.copy())


@pytest.mark.parametrize(("color", "ground"), [(RED, BLUE), ((255, 0, 255), (0, 120, 0)), (GREEN, DARK)])
@pytest.mark.parametrize("quality", [80, 100])
def test_colored_text_at_half_resolution_of_color_is_wrong(
    color: tuple[int, int, int], ground: tuple[int, int, int], quality: int
) -> None:
    original = make_text(color, ground)
    copy = Image.open(io.BytesIO(encode_image(original, "WEBP", quality=quality)))

    assert not is_color_right(original, copy)


@pytest.mark.parametrize(("color", "ground"), [(RED, BLUE), (GREEN, DARK)])
def test_colored_text_at_full_resolution_of_color_is_right(
    color: tuple[int, int, int], ground: tuple[int, int, int]
) -> None:
    original = make_text(color, ground)
    content = encode_image(original, "JPEG", quality=90, subsampling="4:4:4")

    assert is_color_right(original, Image.open(io.BytesIO(content)))


@pytest.mark.parametrize("place", [(0, 0), (450, 700), (3000, 1900)])
def test_single_word_of_wrong_color_in_large_image_counts(place: tuple[int, int]) -> None:
    original = make_photo(256, 256).resize((3200, 2000))
    copy = original.copy()
    word = make_text(RED, BLUE, size=(110, 40))
    original.paste(word, place)
    copy.paste(Image.open(io.BytesIO(encode_image(word, "WEBP", quality=80))), place)

    assert not is_color_right(original, copy)


@pytest.mark.parametrize("format_name", ["WEBP", "JPEG", "AVIF"])
def test_color_of_photo_with_grain_is_right(format_name: str) -> None:
    photo = make_photo(400, 300)
    channels = (Image.effect_noise((400, 300), 60) for _ in range(3))
    grainy = Image.blend(photo, Image.merge("RGB", list(channels)), 0.08)

    for image in (photo, grainy):
        copy = Image.open(io.BytesIO(encode_image(image, format_name, quality=80)))
        assert is_color_right(image, copy)


@pytest.mark.parametrize("mode", ["L", "RGBA"])
def test_color_that_is_not_seen_does_not_count(mode: str) -> None:
    text = make_text(RED, BLUE).convert(mode)
    if mode == "RGBA":
        text.putalpha(0)
    copy = Image.open(io.BytesIO(encode_image(text, "WEBP", quality=50)))

    assert is_color_right(text, copy)
