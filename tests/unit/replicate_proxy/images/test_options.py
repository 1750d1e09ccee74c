"""Image options from headers and settings."""

from __future__ import annotations

import pytest

from replicate_proxy.images.options import ImageOptions, InvalidImageOptionError


def test_parse_overrides_defaults() -> None:
    defaults = ImageOptions(format="avif", keep_copyright=True)

    assert ImageOptions.parse(defaults=defaults) == defaults
    assert ImageOptions.parse(format="auto", accepts_avif=True) == ImageOptions(accepts_avif=True)
    assert ImageOptions.parse(format=" JPG ", quality="90", defaults=defaults) == ImageOptions(
        "jpeg", 90, keep_copyright=True
    )


@pytest.mark.parametrize("quality", ["0", "101", "-1", "8.5", "high", "", "٣", 0, 1000])
def test_parse_raises_for_invalid_quality(quality: str | int) -> None:
    with pytest.raises(InvalidImageOptionError) as caught:
        ImageOptions.parse(quality=quality)
    assert caught.value.field == "quality"


@pytest.mark.parametrize("format_name", ["", "png", "webp2", "../webp"])
def test_parse_raises_for_invalid_format(format_name: str) -> None:
    with pytest.raises(InvalidImageOptionError) as caught:
        ImageOptions.parse(format=format_name)
    assert caught.value.field == "format"
