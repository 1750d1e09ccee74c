"""Compress a still image."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from replicate_proxy.images.encode import (
    allows_lossless,
    choose_format,
    encode_lossless,
    encode_png,
    encode_still,
)
from replicate_proxy.images.quality import build_sample, choose_quality
from replicate_proxy.images.task import EncodingFailedError, write_result

if TYPE_CHECKING:
    from PIL import Image

    from replicate_proxy.images.quality import QualityChoice
    from replicate_proxy.images.task import ImageResult, ImageTask


_MAX_PALETTE_COLORS = 256
_LOSSLESS_FORMATS = frozenset({"png", "gif"})
# Photographs take a tenth of their PNGs.
_MIN_LARGE_SHARE = 0.3


class StillImage:
    """The normalized pixels of a still image."""

    def __init__(self, pixels: Image.Image) -> None:
        self._pixels = pixels

    def compress(self, task: ImageTask, result: ImageResult, *, exif: bytes) -> ImageResult:
        """Write the image at the lowest quality that is similar enough, or without loss if that is smaller.

        Raises EncodingFailedError.
        """
        pixels = self._pixels
        format_name = choose_format(task.options, pixels.size, is_transparent=pixels.mode == "RGBA")
        sample = build_sample(pixels)
        choice = choose_quality(sample, format_name, task.options, size=pixels.size, exif=exif)
        encoded = choice.encoded
        if sample is not pixels:
            encoded = encode_still(
                pixels, format_name, choice.quality, full_color=choice.full_color, exif=exif
            )
        if format_name == "webp" and self._may_be_better_without_loss(sample, choice, len(encoded), result):
            lossless = _try_lossless(pixels, exif=exif)
            if lossless and (len(lossless) <= len(encoded) or not choice.is_similar_enough):
                return write_result(lossless, format_name, task, replace(result, similarity=1.0))
        result = replace(result, quality=choice.quality, similarity=choice.similarity)
        if not choice.is_similar_enough:
            return replace(result, reason="below_min_similarity")
        return write_result(encoded, format_name, task, result)

    def _may_be_better_without_loss(
        self, sample: Image.Image, choice: QualityChoice, encoded_bytes: int, result: ImageResult
    ) -> bool:
        """Return whether lossless encoding is worth its time.

        It is for images of few colors, for those whose colors WebP otherwise blurs, and for those that are
        large after lossy encoding, compared with a lossless source: drawings and screenshots.
        """
        has_few_colors = self._pixels.getcolors(_MAX_PALETTE_COLORS) is not None
        if not has_few_colors and not allows_lossless(self._pixels.size):
            return False
        if not choice.is_similar_enough:
            return has_few_colors or choice.is_color_wrong
        is_large = encoded_bytes > _MIN_LARGE_SHARE * result.bytes_before
        if not has_few_colors and not (is_large and result.source_format in _LOSSLESS_FORMATS):
            return False
        if sample is self._pixels:
            return True
        # Of a large image a sample tells, in a fraction of the time.
        lossless = _try_lossless(sample)
        return lossless is not None and len(lossless) <= len(choice.encoded)

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
