"""How similar two images are, in structure and in color, over blocks of 8×8 pixels, with Pillow alone.

Structure is measured on luma (SSIM), which does not see that an encoder has halved the resolution of color:
on colored text the color is measured too.

numpy and scikit-image would add 60 MB to the function. The formula is that of Wang, Bovik, Sheikh and
Simoncelli, "Image quality assessment" (2004), the mean over all windows of

    (2μxμy + C1)(2σxy + C2) / ((μx² + μy² + C1)(σx² + σy² + C2))

Blocks that do not overlap replace the sliding window; docs/images.md compares the result with scikit-image's.
"""

from __future__ import annotations

from typing import Any

from PIL import Image, ImageChops, ImageMath

_BLOCK_PIXELS = 8
# The side of an area in blocks: large enough for a word of text.
_AREA_BLOCKS = 16
# The sum of the mean differences of Cb and Cr (8 bits each) in a block whose color is wrong. Photographs stay
# below at every quality that is used, colored text at half resolution is above, see docs/images.md.
_MAX_COLOR_DIFFERENCE = 20
# Without that much difference of red or blue there is no such difference of Cb and Cr, unless of luma too.
_MIN_CHANNEL_DIFFERENCE = 12
_MAX_SUSPICIOUS_SHARE = 0.02
_C1 = (0.01 * 255) ** 2
_C2 = (0.03 * 255) ** 2
# n / (n - 1) for the sample variance, as in scikit-image.
_UNBIASED_FACTOR = _BLOCK_PIXELS**2 / (_BLOCK_PIXELS**2 - 1)

# Of larger images only bands of full width are compared, 32 of every 128 rows.
_MAX_WHOLE_PIXELS = 300_000
_BAND_ROWS, _BAND_INTERVAL_ROWS = 32, 128


def calculate_similarity(first: Image.Image, second: Image.Image) -> float:
    """Return the similarity of structure or of color, 0–1, whichever is lower, of images of the same size.

    Both are laid over the same gray, so that colors under full transparency do not count.
    """
    return min(calculate_structural_similarity(first, second), calculate_color_similarity(first, second))


def calculate_structural_similarity(first: Image.Image, second: Image.Image) -> float:
    """Return the structural similarity on luma, 0–1."""
    x, y = _extract_luma(_sample_bands(first)), _extract_luma(_sample_bands(second))
    mean_x, mean_y = x.reduce(_BLOCK_PIXELS), y.reduce(_BLOCK_PIXELS)
    mean_xx, mean_yy, mean_xy = (_multiply(a, b).reduce(_BLOCK_PIXELS) for a, b in ((x, x), (y, y), (x, y)))
    scores = ImageMath.lambda_eval(_calculate_ssim, mx=mean_x, my=mean_y, xx=mean_xx, yy=mean_yy, xy=mean_xy)
    # A reduction to one pixel is the exact mean; ImageStat would count a histogram of 256 steps.
    mean = scores.reduce(scores.size).getpixel((0, 0))
    return max(0.0, min(1.0, float(mean)))


def calculate_color_similarity(first: Image.Image, second: Image.Image) -> float:
    """Return the share of blocks whose color is right, 0–1, in the area where it is lowest.

    A grayscale image has no color that could be wrong.
    """
    if first.mode == "L":
        return 1.0
    x, y = _flatten(first).convert("RGB"), _flatten(second).convert("RGB")
    red, _, blue = ImageChops.difference(x, y).reduce(_BLOCK_PIXELS).split()
    suspicious = _find_largest_share(ImageChops.lighter(red, blue), _MIN_CHANNEL_DIFFERENCE)
    if suspicious <= _MAX_SUSPICIOUS_SHARE:
        return 1.0
    _, cb, cr = ImageChops.difference(x.convert("YCbCr"), y.convert("YCbCr")).reduce(_BLOCK_PIXELS).split()
    return 1.0 - _find_largest_share(ImageChops.add(cb, cr), _MAX_COLOR_DIFFERENCE)


def _find_largest_share(differences: Image.Image, threshold: int) -> float:
    """Return the largest share, in any area, of blocks whose difference is above the threshold."""
    exceeds = differences.point([255 * (value > threshold) for value in range(256)])
    return max(exceeds.reduce(min(_AREA_BLOCKS, *exceeds.size)).tobytes()) / 255


def _calculate_ssim(blocks: dict[str, Any]) -> Any:
    """Return each block's SSIM from its means: of x, y, and their products."""
    mx, my = blocks["mx"], blocks["my"]
    product, squares = mx * my, mx * mx + my * my
    covariance = (blocks["xy"] - product) * _UNBIASED_FACTOR
    variances = (blocks["xx"] + blocks["yy"] - squares) * _UNBIASED_FACTOR
    return ((product * 2 + _C1) * (covariance * 2 + _C2)) / ((squares + _C1) * (variances + _C2))


def _multiply(x: Image.Image, y: Image.Image) -> Image.Image:
    product: Image.Image = ImageMath.lambda_eval(lambda images: images["x"] * images["y"], x=x, y=y)
    return product


def _sample_bands(image: Image.Image) -> Image.Image:
    band_count = image.height // _BAND_INTERVAL_ROWS
    if image.width * image.height <= _MAX_WHOLE_PIXELS or not band_count:
        return image
    sample = Image.new(image.mode, (image.width, band_count * _BAND_ROWS))
    for index in range(band_count):
        top = index * _BAND_INTERVAL_ROWS + (_BAND_INTERVAL_ROWS - _BAND_ROWS) // 2
        band = image.crop((0, top, image.width, top + _BAND_ROWS))
        sample.paste(band, (0, index * _BAND_ROWS))
    return sample


def _extract_luma(image: Image.Image) -> Image.Image:
    return _flatten(image).convert("L").convert("F")


def _flatten(image: Image.Image) -> Image.Image:
    if image.mode != "RGBA":
        return image
    return Image.alpha_composite(Image.new("RGBA", image.size, (128, 128, 128, 255)), image)
