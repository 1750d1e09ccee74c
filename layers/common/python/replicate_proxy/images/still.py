"""Compress a still image."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from replicate_proxy.images.encode import choose_format, encode_lossless, encode_png, encode_still
from replicate_proxy.images.quality import build_sample, choose_quality
from replicate_proxy.images.task import EncodingFailedError, write_result

if TYPE_CHECKING:
    from PIL import Image

    from replicate_proxy.images.task import ImageResult, ImageTask


_MAX_LOSSLESS_COLORS = 256


class StillImage:
    """The normalized pixels of a still image."""

    def __init__(self, pixels: Image.Image) -> None:
        self._pixels = pixels

    def compress(self, task: ImageTask, result: ImageResult, *, exif: bytes) -> ImageResult:
        """Write the image at the lowest quality that is similar enough, or lossless if that is not larger.

        Lossless is tried for images of few colors. Raises EncodingFailedError.
        """
        pixels = self._pixels
        format_name = choose_format(task.options, pixels.size, is_transparent=pixels.mode == "RGBA")
        sample = build_sample(pixels)
        choice = choose_quality(sample, format_name, task.options, exif=exif)
        result = replace(result, quality=choice.quality, similarity=choice.similarity)
        encoded = (
            choice.encoded
            if sample is pixels
            else encode_still(pixels, format_name, choice.quality, exif=exif)
        )
        if format_name == "webp" and pixels.getcolors(_MAX_LOSSLESS_COLORS) is not None:
            lossless = encode_lossless(pixels, exif=exif)
            if len(lossless) <= len(encoded) or not choice.is_similar_enough:
                result = replace(result, quality=None, similarity=1.0)
                return write_result(lossless, format_name, task, result)
        if not choice.is_similar_enough:
            return replace(result, reason="below_min_similarity")
        return write_result(encoded, format_name, task, result)

    def encode_unmodified(self, *, exif: bytes) -> tuple[bytes, str]:
        """Return the image encoded without loss, and the format. Raises EncodingFailedError."""
        try:
            return encode_lossless(self._pixels, exif=exif), "webp"
        except EncodingFailedError:
            return encode_png(self._pixels, exif=exif), "png"
