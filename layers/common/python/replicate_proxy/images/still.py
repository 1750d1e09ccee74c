"""Compress a still image."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from replicate_proxy.images.color_check import is_color_right
from replicate_proxy.images.encode import (
    allows_full_color,
    allows_lossless,
    choose_format,
    encode_lossless,
    encode_png,
    encode_still,
)
from replicate_proxy.images.quality import MAX_CHECKED_PIXELS, build_sample, choose_quality, open_encoded
from replicate_proxy.images.score import MAX_SCORE
from replicate_proxy.images.task import EncodingFailedError, write_result

if TYPE_CHECKING:
    from PIL import Image

    from replicate_proxy.images.encode import TargetFormat
    from replicate_proxy.images.options import ImageOptions
    from replicate_proxy.images.quality import QualityChoice
    from replicate_proxy.images.task import ImageResult, ImageTask


_MAX_PALETTE_COLORS = 256
_LOSSLESS_FORMATS = frozenset({"png", "gif"})
# Photographs take a tenth of their PNGs.
_MIN_LARGE_SHARE = 0.3


@dataclass(frozen=True)
class _Encoding:
    """The image in one format. If it is not good enough, `content` may be a sample."""

    format: TargetFormat
    content: bytes
    choice: QualityChoice

    @property
    def is_good_enough(self) -> bool:
        return self.choice.is_good_enough


class StillImage:
    """The normalized pixels of a still image."""

    def __init__(self, pixels: Image.Image) -> None:
        self._pixels = pixels
        self._sample = build_sample(pixels)

    def compress(self, task: ImageTask, result: ImageResult, *, exif: bytes) -> ImageResult:
        """Write the image at the target score, or as lossless WebP if that is smaller.

        Without loss also where no quality of WebP is good enough. Raises EncodingFailedError.
        """
        options = task.options
        lossy = self._encode_lossy(options, exif=exif)
        may_be_lossless = lossy.format == "webp" or options.format == "auto"
        if may_be_lossless and self._may_be_better_without_loss(lossy, result):
            lossless = _try_lossless(self._pixels, exif=exif)
            if lossless and (len(lossless) <= len(lossy.content) or not lossy.is_good_enough):
                return write_result(lossless, "webp", task, replace(result, score=MAX_SCORE))
        result = replace(result, quality=lossy.choice.quality, score=lossy.choice.score)
        if not lossy.is_good_enough:
            return replace(result, reason="below_min_score")
        return write_result(lossy.content, lossy.format, task, result)

    def _encode_lossy(self, options: ImageOptions, *, exif: bytes) -> _Encoding:
        """Return the image in the format of the options.

        Of "auto", it is WebP where AVIF takes too much memory, and JPEG where WebP would blur the colors.
        """
        is_transparent = self._pixels.mode == "RGBA"
        format_name = choose_format(options, self._pixels.size, is_transparent=is_transparent)
        is_automatic = options.format == "auto"
        try:
            encoding = self._encode(format_name, options, exif=exif)
        except EncodingFailedError:
            if format_name != "avif" or not is_automatic:
                raise
            return self._encode_lossy(replace(options, accepts_avif=False), exif=exif)
        if encoding.is_good_enough or not is_automatic or is_transparent or format_name == "jpeg":
            return encoding
        jpeg = self._encode("jpeg", options, exif=exif)
        return jpeg if jpeg.is_good_enough else encoding

    def _encode(self, format_name: TargetFormat, options: ImageOptions, *, exif: bytes) -> _Encoding:
        pixels, sample = self._pixels, self._sample
        is_mosaic = sample is not pixels
        # Of a larger image the mosaic's colors are checked: decoding it once more would take too much memory.
        checks_whole = is_mosaic and pixels.width * pixels.height <= MAX_CHECKED_PIXELS
        choice = choose_quality(
            sample, format_name, options, size=pixels.size, checks_color=not checks_whole, exif=exif
        )
        if not is_mosaic or not choice.is_good_enough:
            return _Encoding(format_name, choice.encoded, choice)
        quality, full_color = choice.quality, choice.full_color
        encoded = encode_still(pixels, format_name, quality, full_color=full_color, exif=exif)
        if full_color or not checks_whole or self._has_right_color(encoded):
            return _Encoding(format_name, encoded, choice)
        if allows_full_color(format_name, pixels.size):
            encoded = encode_still(pixels, format_name, quality, full_color=True, exif=exif)
            return _Encoding(format_name, encoded, choice)
        # A quality that was asked for is used in any case.
        is_good_enough = options.quality is not None
        return _Encoding(format_name, encoded, replace(choice, is_good_enough=is_good_enough))

    def _has_right_color(self, encoded: bytes) -> bool:
        with open_encoded(encoded) as decoded:
            return is_color_right(self._pixels, decoded)

    def _may_be_better_without_loss(self, lossy: _Encoding, result: ImageResult) -> bool:
        """Return whether lossless encoding is worth its time.

        It is for images of few colors, for those that cannot be encoded well enough otherwise, and for those
        that are large after lossy encoding, compared with a lossless source: drawings and screenshots.
        """
        has_few_colors = self._pixels.getcolors(_MAX_PALETTE_COLORS) is not None
        if not has_few_colors and not allows_lossless(self._pixels.size):
            return False
        if not lossy.is_good_enough:
            return True
        is_large = len(lossy.content) > _MIN_LARGE_SHARE * result.bytes_before
        is_drawing = is_large and result.source_format in _LOSSLESS_FORMATS
        # JPEG is used up to the full resolution of color where WebP was not good enough.
        if not has_few_colors and not is_drawing and not lossy.choice.full_color:
            return False
        if self._sample is self._pixels:
            return True
        # Of a large image a sample tells, in a fraction of the time.
        lossless = _try_lossless(self._sample)
        return lossless is not None and len(lossless) <= len(lossy.choice.encoded)

    def encode_unmodified(self, *, exif: bytes) -> tuple[bytes, str]:
        """Return the image encoded without loss, and the format. Raises EncodingFailedError."""
        try:
            return encode_lossless(self._pixels, exif=exif), "webp"
        except EncodingFailedError:
            return encode_png(self._pixels, exif=exif), "png"


def _try_lossless(pixels: Image.Image, *, exif: bytes = b"") -> bytes | None:
    """Return None if there is not enough memory: that must not cost the lossy result."""
    try:
        return encode_lossless(pixels, exif=exif)
    except EncodingFailedError:
        return None
