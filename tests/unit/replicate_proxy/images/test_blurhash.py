"""BlurHash, compared with the reference implementation (PyPI `blurhash` 1.1.5, 4×3 components)."""

from __future__ import annotations

import pytest
from PIL import Image

from replicate_proxy.images.blurhash import encode_blurhash
from tests.support.images import make_photo


@pytest.mark.parametrize(
    ("seed", "expected"),
    [
        (1, "LXD_7L=Z%eKPQ3RQaxw0I:klTEW;"),
        (2, "LhI;#i-39*kQ-[TARSes5$OG#ER+"),
        (3, "LRFQ2p9m+6rzCZvwM-wGq?%CPEr?"),
    ],
)
def test_blurhash_equals_reference_implementation(seed: int, expected: str) -> None:
    assert encode_blurhash(make_photo(32, 32, seed=seed)) == expected


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
@pytest.mark.parametrize("size", [(1, 1), (1, 500), (500, 1), (300, 200)])
def test_blurhash_has_28_characters_for_any_mode_and_size(mode: str, size: tuple[int, int]) -> None:
    assert len(encode_blurhash(make_photo(*size, mode=mode))) == 28


def test_blurhash_of_transparent_image_equals_white() -> None:
    transparent = Image.new("RGBA", (40, 40), (255, 0, 0, 0))

    assert encode_blurhash(transparent) == encode_blurhash(Image.new("RGB", (40, 40), "white"))


def test_blurhash_of_single_color_contains_that_color() -> None:
    digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz#$%*+,-.:;=?@[]^_{|}~"
    value = 0
    for character in encode_blurhash(Image.new("RGB", (50, 50), (200, 100, 50)))[2:6]:
        value = value * 83 + digits.index(character)

    assert (value >> 16, value >> 8 & 255, value & 255) == (200, 100, 50)
