"""Find places whose color an encoder has changed by halving its resolution, over blocks of 8×8 pixels.

The score of a large image hardly falls when a single word in it loses its color, and then cannot be read.
"""

from __future__ import annotations

from PIL import Image, ImageChops

_BLOCK_PIXELS = 8
# The side of an area in blocks: large enough for a word of text.
_AREA_BLOCKS = 16
# The sum of the mean differences of Cb and Cr (8 bits each) in a block whose color is wrong. Photographs stay
# below at every quality that is used, colored text at half resolution is above, see docs/images.md.
_MAX_COLOR_DIFFERENCE = 20
# Without that much difference of red or blue there is no such difference of Cb and Cr, unless of luma too.
_MIN_CHANNEL_DIFFERENCE = 12
_MAX_SUSPICIOUS_SHARE = 0.02
_MAX_WRONG_SHARE = 0.055
# Rows that are compared at a time, to bound the memory: whole areas.
_STRIP_ROWS = 4 * _BLOCK_PIXELS * _AREA_BLOCKS


def is_color_right(source: Image.Image, encoded: Image.Image) -> bool:
    """Return whether in each area of the image at most 5.5 % of the blocks have another color.

    A grayscale image has no color that could be wrong. Colors under full transparency do not count.
    """
    if source.mode == "L":
        return True
    strips = (
        (0, top, source.width, min(top + _STRIP_ROWS, source.height))
        for top in range(0, source.height, _STRIP_ROWS)
    )
    return all(_is_strip_right(source.crop(strip), encoded.crop(strip)) for strip in strips)


def _is_strip_right(source: Image.Image, encoded: Image.Image) -> bool:
    x, y = _flatten(source), _flatten(encoded)
    red, _, blue = ImageChops.difference(x, y).reduce(_BLOCK_PIXELS).split()
    suspicious = _find_largest_share(ImageChops.lighter(red, blue), _MIN_CHANNEL_DIFFERENCE)
    if suspicious <= _MAX_SUSPICIOUS_SHARE:
        return True
    _, cb, cr = ImageChops.difference(x.convert("YCbCr"), y.convert("YCbCr")).reduce(_BLOCK_PIXELS).split()
    return _find_largest_share(ImageChops.add(cb, cr), _MAX_COLOR_DIFFERENCE) <= _MAX_WRONG_SHARE


def _find_largest_share(differences: Image.Image, threshold: int) -> float:
    """Return the largest share, in any area, of blocks whose difference is above the threshold."""
    exceeds = differences.point([255 * (value > threshold) for value in range(256)])
    return max(exceeds.reduce(min(_AREA_BLOCKS, *exceeds.size)).tobytes()) / 255


def _flatten(image: Image.Image) -> Image.Image:
    """Return the image as RGB, a transparent one on gray."""
    if image.mode != "RGBA":
        return image if image.mode == "RGB" else image.convert("RGB")
    ground = Image.new("RGBA", image.size, (128, 128, 128, 255))
    return Image.alpha_composite(ground, image).convert("RGB")
