"""BlurHash, the placeholder most client libraries can draw (github.com/woltapp/blurhash, Algorithm.md).

What is told about an image beside its new bytes: size, thumbnail, placeholder, the models' own texts.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

from PIL import Image

from replicate_proxy.images.encode import encode_still
from replicate_proxy.images.metadata import extract_text

if TYPE_CHECKING:
    from replicate_proxy.images.task import ImageResult, ImageTask


_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz#$%*+,-.:;=?@[]^_{|}~"
_SAMPLES = 32
# IEC 61966-2-1: the straight part of the sRGB curve ends here.
_STRAIGHT, _STRAIGHT_LINEAR = 0.04045, 0.0031308
_LINEAR = tuple(
    v / 255 / 12.92 if v / 255 <= _STRAIGHT else ((v / 255 + 0.055) / 1.055) ** 2.4 for v in range(256)
)

type _Colour = tuple[float, float, float]


def encode_blurhash(image: Image.Image, *, x_components: int = 4, y_components: int = 3) -> str:
    """28 characters for 4×3 components; transparent parts count as white. The image is sampled at 32×32
    pixels.
    """
    factors = _factors(_flat(image), x_components, y_components)
    constant, rest = factors[0], factors[1:]
    largest = max(abs(value) for colour in rest for value in colour)
    step = max(0, min(82, math.floor(largest * 166 - 0.5)))
    scale = (step + 1) / 166
    return (
        _base83((x_components - 1) + (y_components - 1) * 9, 1)
        + _base83(step, 1)
        + _base83(_constant(constant), 4)
        + "".join(_base83(_quantised(colour, scale), 2) for colour in rest)
    )


def _flat(image: Image.Image) -> list[list[_Colour]]:
    small = image.resize((_SAMPLES, _SAMPLES), Image.Resampling.BOX, reducing_gap=2.0)
    if small.mode == "RGBA":
        small = Image.alpha_composite(Image.new("RGBA", small.size, "white"), small)
    raw = small.convert("RGB").tobytes()
    pixels = [(_LINEAR[raw[i]], _LINEAR[raw[i + 1]], _LINEAR[raw[i + 2]]) for i in range(0, len(raw), 3)]
    return [pixels[row * _SAMPLES : (row + 1) * _SAMPLES] for row in range(_SAMPLES)]


def _factors(rows: list[list[_Colour]], across: int, down: int) -> list[_Colour]:
    """The cosine transform, first along the rows, then down the columns."""
    waves = _cosines()
    along = [[_weigh(row, waves[i]) for row in rows] for i in range(across)]
    factors = []
    for j in range(down):
        for i in range(across):
            scale = (1 if i == 0 and j == 0 else 2) / _SAMPLES**2
            red, green, blue = _weigh(along[i], waves[j])
            factors.append((red * scale, green * scale, blue * scale))
    return factors


@cache
def _cosines() -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(math.cos(math.pi * k * x / _SAMPLES) for x in range(_SAMPLES)) for k in range(9))


def _weigh(colours: list[_Colour], wave: tuple[float, ...]) -> _Colour:
    red = green = blue = 0.0
    for (r, g, b), weight in zip(colours, wave, strict=True):
        red += r * weight
        green += g * weight
        blue += b * weight
    return red, green, blue


def _constant(colour: _Colour) -> int:
    red, green, blue = (_srgb(value) for value in colour)
    return (red << 16) + (green << 8) + blue


def _srgb(value: float) -> int:
    value = max(0.0, min(1.0, value))
    curved = value * 12.92 if value <= _STRAIGHT_LINEAR else 1.055 * value ** (1 / 2.4) - 0.055
    return int(curved * 255 + 0.5)


def _quantised(colour: _Colour, scale: float) -> int:
    digits = [max(0, min(18, math.floor(math.copysign(abs(v / scale) ** 0.5, v) * 9 + 9.5))) for v in colour]
    return digits[0] * 19 * 19 + digits[1] * 19 + digits[2]


def _base83(value: int, length: int) -> str:
    return "".join(_DIGITS[value // 83 ** (length - place - 1) % 83] for place in range(length))


_THUMBNAIL_QUALITY = 75
# Averages whole blocks before the filter runs: a third of the time, and no difference to see at this size.
_REDUCING_GAP = 1.1


def describe(facts: ImageResult, shown: Image.Image, source: Image.Image, job: ImageTask) -> ImageResult:
    """`facts` completed from the normalised pixels and the source's metadata; writes the thumbnail file
    (WebP).
    """
    edge = job.options.thumbnail_px
    scale = min(1.0, edge / shown.width, edge / shown.height)
    size = (max(1, round(shown.width * scale)), max(1, round(shown.height * scale)))
    small = shown.resize(size, Image.Resampling.BICUBIC, reducing_gap=_REDUCING_GAP)
    written = job.thumbnail.write_bytes(encode_still(small, "webp", _THUMBNAIL_QUALITY))
    return replace(
        facts,
        width=shown.width,
        height=shown.height,
        placeholder=encode_blurhash(small),
        thumbnail_bytes=written,
        text=extract_text(source, max_bytes=job.limits.max_text_bytes),
    )
