"""A cheap structural similarity: SSIM on luma over 8×8 blocks, with nothing but Pillow (numpy is 60 MB in a
Lambda).

Wang, Bovik, Sheikh, Simoncelli, "Image quality assessment" (2004): mean over windows of (2μxμy + C1)(2σxy +
C2) / ((μx² + μy² + C1)(σx² + σy² + C2)). Blocks that do not overlap stand for the sliding window;
docs/images.md shows how close that comes to scikit-image's.
"""

from __future__ import annotations

from typing import Any

from PIL import Image, ImageMath

_BLOCK = 8
_C1 = (0.01 * 255) ** 2
_C2 = (0.03 * 255) ** 2
# Sample variance, as in scikit-image: n / (n - 1)
_UNBIASED = _BLOCK**2 / (_BLOCK**2 - 1)


# Of more pixels than these, bands of whole rows are looked at: a quarter of the image, spread over all of it.
_LOOK_AT_ALL_PIXELS = 300_000
_BAND, _EVERY = 32, 128


def calculate_similarity(one: Image.Image, other: Image.Image) -> float:
    """0–1 for two images of the same size; alpha is laid over mid-grey in both, so that hidden colour does
    not count.
    """
    x, y = _luma(_sampled(one)), _luma(_sampled(other))
    mean_x, mean_y = x.reduce(_BLOCK), y.reduce(_BLOCK)
    square_x, square_y, product = (_multiply(a, b).reduce(_BLOCK) for a, b in ((x, x), (y, y), (x, y)))
    scores = ImageMath.lambda_eval(_ssim, mx=mean_x, my=mean_y, xx=square_x, yy=square_y, xy=product)
    # ImageStat would count a histogram of 256 steps; a reduction to one pixel is the exact mean.
    mean = scores.reduce(scores.size).getpixel((0, 0))
    return max(0.0, min(1.0, float(mean)))


def _ssim(a: dict[str, Any]) -> Any:
    mx, my = a["mx"], a["my"]
    both, squares = mx * my, mx * mx + my * my
    covariance = (a["xy"] - both) * _UNBIASED
    variances = (a["xx"] + a["yy"] - squares) * _UNBIASED
    return ((both * 2 + _C1) * (covariance * 2 + _C2)) / ((squares + _C1) * (variances + _C2))


def _multiply(one: Image.Image, other: Image.Image) -> Image.Image:
    product: Image.Image = ImageMath.lambda_eval(lambda a: a["x"] * a["y"], x=one, y=other)
    return product


def _sampled(image: Image.Image) -> Image.Image:
    bands = image.height // _EVERY
    if image.width * image.height <= _LOOK_AT_ALL_PIXELS or not bands:
        return image
    sample = Image.new(image.mode, (image.width, bands * _BAND))
    for band in range(bands):
        top = band * _EVERY + (_EVERY - _BAND) // 2
        sample.paste(image.crop((0, top, image.width, top + _BAND)), (0, band * _BAND))
    return sample


def _luma(image: Image.Image) -> Image.Image:
    if image.mode == "RGBA":
        ground = Image.new("RGBA", image.size, (128, 128, 128, 255))
        image = Image.alpha_composite(ground, image)
    return image.convert("L").convert("F")
