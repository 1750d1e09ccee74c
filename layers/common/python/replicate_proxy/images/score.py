"""Estimate the SSIMULACRA2 score of an encoded image with Pillow alone.

SSIMULACRA2 (libjxl, tools/ssimulacra2.cc) compares two images at six scales in the color space XYB, by
structure (a variant of SSIM) and by edges, and sums up 108 weighted differences. A score of 100 is the same
image, 90 can hardly be told apart, 70 is high and 50 medium quality. Its implementations need numpy or a
compiler, and more than a second of processor time for a megapixel.

The estimate takes the nine differences that tell most, at two scales, in blocks of 4 × 4 pixels in place of
a Gaussian window. The weights are fitted to scores of SSIMULACRA2 by tools/bench/images_fit.py;
docs/images.md says how far the estimate is off.
"""

from __future__ import annotations

import math
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Literal

from PIL import Image, ImageMath

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

type Channel = Literal["X", "Y", "B"]
type Measure = Literal["structure", "artifacts", "lost_detail"]
type Norm = Literal["mean", "l4"]
type Difference = tuple[int, Channel, Measure, Norm]

MAX_SCORE: Final = 100.0

# Of differences, each by its scale (a power of two), its channel, what is compared, and how pixels are
# summed up.
WEIGHTS: Final[Mapping[Difference, float]] = {
    (1, "Y", "structure", "mean"): 38.5,
    (1, "Y", "structure", "l4"): 10.38,
    (1, "Y", "lost_detail", "l4"): 32.66,
    (3, "Y", "structure", "mean"): 389.7,
    (3, "Y", "structure", "l4"): 63.96,
    (3, "X", "artifacts", "mean"): 80.19,
    (3, "B", "structure", "l4"): 12.69,
    (3, "B", "artifacts", "mean"): 166.2,
    (3, "B", "lost_detail", "l4"): 48.43,
}
_CHANNELS_BY_SCALE: Final[Mapping[int, tuple[Channel, ...]]] = {1: ("Y",), 3: ("X", "Y", "B")}

# Gray levels under a transparent image; the lower score counts.
_GROUNDS = (26, 230)
_BLOCK_PIXELS = 4
_MIN_EDGE_PIXELS = _BLOCK_PIXELS << 3
# libjxl, lib/jxl/cms/opsin_params.h: what each kind of cone absorbs of linear red, green and blue.
_L_ABSORBANCE = (0.3, 0.622, 0.078)
_M_ABSORBANCE = (0.23, 0.692, 0.078)
_S_ABSORBANCE = (0.24342269, 0.20476744, 0.55180987)
# The mean of L and M: at the larger scale one cube root in place of two, at nearly the same value.
_LUMA_ABSORBANCE = (0.265, 0.657, 0.078)
_BIAS = 0.0037930732552754493
# SSIMULACRA2's stabilizer of the structure.
_C2 = 0.0009


def _to_linear(code: int) -> float:
    """Return the intensity, 0–1, of an sRGB code (IEC 61966-2-1)."""
    value = code / 255
    is_dark = value <= 0.04045  # noqa: PLR2004 - a constant of the standard
    return value / 12.92 if is_dark else ((value + 0.055) / 1.055) ** 2.4


_LINEAR_BY_CODE: Final = [_to_linear(code) for code in range(256)]


class ScoreReference:
    """A source, prepared once to be compared with several encodings of it."""

    def __init__(self, image: Image.Image) -> None:
        self._size = image.size
        grounds = _GROUNDS if image.mode == "RGBA" else _GROUNDS[:1]
        self._scales = {ground: _build_scales(_flatten(image, ground)) for ground in grounds}

    def estimate_score(self, encoded: Image.Image) -> float:
        """Return the estimated SSIMULACRA2 score, at most 100, of an image of the same size."""
        return min(calculate_score(differences) for differences in self.measure_differences(encoded))

    def measure_differences(self, encoded: Image.Image) -> Iterator[dict[Difference, float]]:
        """Yield the differences that `WEIGHTS` weighs, for a transparent image on each ground."""
        if encoded.size != self._size:
            raise ValueError(f"images to compare differ in size: {self._size} and {encoded.size}")
        for ground, scales in self._scales.items():
            yield dict(_compare(scales, _build_scales(_flatten(encoded, ground))))


def calculate_score(differences: Mapping[Difference, float]) -> float:
    """Return the score by the weights. The polynomial and the power are those of SSIMULACRA2."""
    weighted = sum(weight * differences[difference] for difference, weight in WEIGHTS.items())
    return map_to_score(weighted)


def map_to_score(weighted: float) -> float:
    """Return the score of a weighted sum of differences, as in libjxl's `Msssim::Score`."""
    x = 0.9562382616834844 * weighted
    polynomial = 2.326765642916932 * x - 0.020884521182843837 * x**2 + 6.248496625763138e-05 * x**3
    return MAX_SCORE - 10.0 * math.pow(max(0.0, polynomial), 0.6276336467831387)


class _Scale:
    """The channels of an image at one scale, stacked in one image of mode F, each `height` pixels high."""

    def __init__(self, channels: Mapping[Channel, Image.Image]) -> None:
        width, height = next(iter(channels.values())).size
        # Blocks lie in one channel.
        self._height = height - height % _BLOCK_PIXELS
        self._width = width - width % _BLOCK_PIXELS
        self._channels = tuple(channels)
        self.pixels = Image.new("F", (self._width, self._height * len(channels)))
        for index, pixels in enumerate(channels.values()):
            self.pixels.paste(pixels.crop((0, 0, self._width, self._height)), (0, index * self._height))

    @cached_property
    def means(self) -> Image.Image:
        return self.pixels.reduce(_BLOCK_PIXELS)

    @cached_property
    def mean_squares(self) -> Image.Image:
        return _evaluate(lambda x: x * x, self.pixels).reduce(_BLOCK_PIXELS)

    @cached_property
    def edges(self) -> Image.Image:
        """Return how far each pixel is from the mean of its block, plus 1."""
        means = self.means.resize(self.pixels.size, Image.Resampling.NEAREST)
        return _evaluate(lambda x, mean: abs(x - mean) + 1.0, self.pixels, means)

    def select(self, values: Image.Image, channel: Channel) -> Image.Image:
        """Return the part of a channel from values that were calculated of `pixels`, or of their blocks."""
        height = values.height // len(self._channels)
        top = self._channels.index(channel) * height
        return values.crop((0, top, values.width, top + height))


def _flatten(image: Image.Image, ground: int) -> Image.Image:
    """Return the image as RGB, a transparent one on gray, and a small one repeated to fill the last scale."""
    if min(image.size) < _MIN_EDGE_PIXELS:
        image = _repeat(image)
    if image.mode != "RGBA":
        return image if image.mode == "RGB" else image.convert("RGB")
    background = Image.new("RGBA", image.size, (ground, ground, ground, 255))
    return Image.alpha_composite(background, image).convert("RGB")


def _repeat(image: Image.Image) -> Image.Image:
    columns, rows = (-(-_MIN_EDGE_PIXELS // edge) for edge in image.size)
    repeated = Image.new(image.mode, (columns * image.width, rows * image.height))
    for column in range(columns):
        for row in range(rows):
            repeated.paste(image, (column * image.width, row * image.height))
    return repeated


def _build_scales(image: Image.Image) -> dict[int, _Scale]:
    bands = [band.point(_LINEAR_BY_CODE, "F") for band in image.split()]
    scales, reduced = {}, 0
    for scale, channels in _CHANNELS_BY_SCALE.items():
        bands = [band.reduce(2 ** (scale - reduced)) for band in bands]
        reduced = scale
        scales[scale] = _Scale(_convert_to_xyb(bands, channels))
    return scales


def _convert_to_xyb(bands: list[Image.Image], channels: tuple[Channel, ...]) -> dict[Channel, Image.Image]:
    """Return these channels, scaled as SSIMULACRA2 does; constant offsets make no difference."""
    if channels == ("Y",):
        return {"Y": _absorb(bands, _LUMA_ABSORBANCE)}
    long, middle, short = (_absorb(bands, cone) for cone in (_L_ABSORBANCE, _M_ABSORBANCE, _S_ABSORBANCE))
    luma = _evaluate(lambda x, y: (x + y) * 0.5, long, middle)
    return {
        "X": _evaluate(lambda x, y: (x - y) * 7.0, long, middle),
        "Y": luma,
        "B": _evaluate(lambda s, y: s - y, short, luma),
    }


def _absorb(bands: list[Image.Image], absorbance: tuple[float, float, float]) -> Image.Image:
    red, green, blue = absorbance
    return _evaluate(lambda r, g, b: (r * red + g * green + b * blue + _BIAS) ** (1 / 3), *bands)


def _compare(
    sources: Mapping[int, _Scale], encoded: Mapping[int, _Scale]
) -> Iterator[tuple[Difference, float]]:
    maps: dict[tuple[int, Measure], Image.Image] = {}
    for difference in WEIGHTS:
        scale, channel, measure, norm = difference
        if (scale, measure) not in maps:
            maps[scale, measure] = _MAPS[measure](sources[scale], encoded[scale])
        yield difference, _sum_up(sources[scale].select(maps[scale, measure], channel), norm)


def _map_structure(x: _Scale, y: _Scale) -> Image.Image:
    """Return how much the structure of each block differs (libjxl, `SSIMMap`)."""

    def calculate(mx: Any, my: Any, xx: Any, yy: Any, xy: Any) -> Any:
        product, difference = mx * my, mx - my
        variances = (xx - mx * mx) + (yy - my * my) + _C2
        structure = (1.0 - difference * difference) * ((xy - product) * 2.0 + _C2) / variances
        distance = 1.0 - structure
        return (distance + abs(distance)) * 0.5

    products = _evaluate(lambda a, b: a * b, x.pixels, y.pixels).reduce(_BLOCK_PIXELS)
    return _evaluate(calculate, x.means, y.means, x.mean_squares, y.mean_squares, products)


def _map_artifacts(x: _Scale, y: _Scale) -> Image.Image:
    """Return by how much edges are stronger in the encoded image (libjxl, `EdgeDiffMap`)."""
    return _evaluate(lambda source, encoded: _cut(encoded - source) / source, x.edges, y.edges)


def _map_lost_detail(x: _Scale, y: _Scale) -> Image.Image:
    """Return by how much edges are weaker in the encoded image (libjxl, `EdgeDiffMap`)."""
    return _evaluate(lambda source, encoded: _cut(source - encoded) / source, x.edges, y.edges)


def _cut(values: Any) -> Any:
    """Return twice the values, 0 for those below."""
    return values + abs(values)


_MAPS: Final[Mapping[Measure, Callable[[_Scale, _Scale], Image.Image]]] = {
    "structure": _map_structure,
    "artifacts": _map_artifacts,
    "lost_detail": _map_lost_detail,
}


def _sum_up(values: Image.Image, norm: Norm) -> float:
    """Return the mean, or the fourth root of the mean of fourth powers, in which the worst places count."""
    if norm == "l4":
        squares = _evaluate(lambda x: x * x, values)
        values = _evaluate(lambda x: x * x, squares)
    # A reduction to one pixel is the exact mean; ImageStat would count a histogram of 256 steps.
    mean = float(values.reduce(values.size).getpixel((0, 0)))  # type: ignore[arg-type] # mode F has one number
    return mean if norm == "mean" else float(max(0.0, mean) ** 0.25)


def _evaluate(function: Callable[..., Any], *images: Image.Image) -> Image.Image:
    """Return what the function calculates from each pixel of the images."""
    named = {f"image{index}": image for index, image in enumerate(images)}
    result: Image.Image = ImageMath.lambda_eval(
        lambda values: function(*(values[name] for name in named)), **named
    )
    return result
