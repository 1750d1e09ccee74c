"""BlurHash, a placeholder that client libraries draw while an image loads.

The algorithm is that of github.com/woltapp/blurhash, Algorithm.md.
"""

from __future__ import annotations

import math
from functools import cache

from PIL import Image

_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz#$%*+,-.:;=?@[]^_{|}~"
_SAMPLES = 32
_MAX_COMPONENTS = 9
# IEC 61966-2-1: up to here the sRGB curve is a straight line.
_LINEAR_SEGMENT_ENCODED, _LINEAR_SEGMENT = 0.04045, 0.0031308
_LINEAR_VALUES = tuple(
    value / 255 / 12.92 if value / 255 <= _LINEAR_SEGMENT_ENCODED else ((value / 255 + 0.055) / 1.055) ** 2.4
    for value in range(256)
)

type _Color = tuple[float, float, float]


def encode_blurhash(image: Image.Image, *, x_components: int = 4, y_components: int = 3) -> str:
    """Return the image's BlurHash, 28 characters for 4×3 components. Transparent parts count as white."""
    factors = _transform(_sample(image), x_components, y_components)
    mean, rest = factors[0], factors[1:]
    max_value = max(abs(value) for color in rest for value in color)
    quantized_max = max(0, min(82, math.floor(max_value * 166 - 0.5)))
    scale = (quantized_max + 1) / 166
    return (
        _encode_base83((x_components - 1) + (y_components - 1) * 9, 1)
        + _encode_base83(quantized_max, 1)
        + _encode_base83(_pack_mean(mean), 4)
        + "".join(_encode_base83(_quantize(color, scale), 2) for color in rest)
    )


def _sample(image: Image.Image) -> list[list[_Color]]:
    """Return 32 rows of 32 linear colors."""
    small = image.resize((_SAMPLES, _SAMPLES), Image.Resampling.BOX, reducing_gap=2.0)
    if small.mode == "RGBA":
        small = Image.alpha_composite(Image.new("RGBA", small.size, "white"), small)
    values = [_LINEAR_VALUES[byte] for byte in small.convert("RGB").tobytes()]
    colors = [(values[i], values[i + 1], values[i + 2]) for i in range(0, len(values), 3)]
    return [colors[row * _SAMPLES : (row + 1) * _SAMPLES] for row in range(_SAMPLES)]


def _transform(rows: list[list[_Color]], x_components: int, y_components: int) -> list[_Color]:
    """Apply the cosine transform, first to the rows, then to the columns."""
    waves = _calculate_cosines()
    columns = [[_sum_weighted(row, waves[i]) for row in rows] for i in range(x_components)]
    factors = []
    for j in range(y_components):
        for i in range(x_components):
            scale = (1 if i == 0 and j == 0 else 2) / _SAMPLES**2
            red, green, blue = _sum_weighted(columns[i], waves[j])
            factors.append((red * scale, green * scale, blue * scale))
    return factors


@cache
def _calculate_cosines() -> tuple[tuple[float, ...], ...]:
    return tuple(
        tuple(math.cos(math.pi * k * x / _SAMPLES) for x in range(_SAMPLES)) for k in range(_MAX_COMPONENTS)
    )


def _sum_weighted(colors: list[_Color], weights: tuple[float, ...]) -> _Color:
    red = green = blue = 0.0
    for (r, g, b), weight in zip(colors, weights, strict=True):
        red += r * weight
        green += g * weight
        blue += b * weight
    return red, green, blue


def _pack_mean(color: _Color) -> int:
    red, green, blue = (_encode_srgb(value) for value in color)
    return (red << 16) + (green << 8) + blue


def _encode_srgb(value: float) -> int:
    value = max(0.0, min(1.0, value))
    encoded = value * 12.92 if value <= _LINEAR_SEGMENT else 1.055 * value ** (1 / 2.4) - 0.055
    return int(encoded * 255 + 0.5)


def _quantize(color: _Color, scale: float) -> int:
    """Return the three values in 19 steps each, as one number."""
    steps = [
        max(0, min(18, math.floor(math.copysign(abs(value / scale) ** 0.5, value) * 9 + 9.5)))
        for value in color
    ]
    return steps[0] * 19 * 19 + steps[1] * 19 + steps[2]


def _encode_base83(value: int, length: int) -> str:
    return "".join(_DIGITS[value // 83 ** (length - place - 1) % 83] for place in range(length))
