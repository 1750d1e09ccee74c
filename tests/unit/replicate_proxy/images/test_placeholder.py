"""BlurHash against the reference implementation's answers (PyPI `blurhash` 1.1.5, same pixels, 4×3
components).
"""

from __future__ import annotations

import pytest
from PIL import Image

from replicate_proxy.images.blurhash import encode_blurhash
from tests.support.pictures import make_photo


@pytest.mark.parametrize(
    ("seed", "expected"),
    [
        (1, "LXD_7L=Z%eKPQ3RQaxw0I:klTEW;"),
        (2, "LhI;#i-39*kQ-[TARSes5$OG#ER+"),
        (3, "LRFQ2p9m+6rzCZvwM-wGq?%CPEr?"),
    ],
)
def test_the_reference_gives_the_same_characters(seed: int, expected: str) -> None:
    assert encode_blurhash(make_photo(32, 32, seed=seed)) == expected


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
@pytest.mark.parametrize("size", [(1, 1), (1, 500), (500, 1), (300, 200)])
def test_any_shape_has_one(mode: str, size: tuple[int, int]) -> None:
    assert len(encode_blurhash(make_photo(*size, mode=mode))) == 28


def test_what_cannot_be_seen_counts_as_white() -> None:
    clear = Image.new("RGBA", (40, 40), (255, 0, 0, 0))

    assert encode_blurhash(clear) == encode_blurhash(Image.new("RGB", (40, 40), "white"))


def test_a_plain_colour_is_its_own_mean() -> None:
    digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz#$%*+,-.:;=?@[]^_{|}~"
    value = 0
    for character in encode_blurhash(Image.new("RGB", (50, 50), (200, 100, 50)))[2:6]:
        value = value * 83 + digits.index(character)

    assert (value >> 16, value >> 8 & 255, value & 255) == (200, 100, 50)
