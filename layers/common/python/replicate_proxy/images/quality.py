"""Choose the lowest quality at which an encoded image is similar enough to its source."""

from __future__ import annotations

import io
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PIL import Image

from replicate_proxy.images.decode import ALLOWED_FORMATS
from replicate_proxy.images.decoder_errors import translate_decoder_errors
from replicate_proxy.images.encode import ENCODERS, encode_still, has_full_color
from replicate_proxy.images.similarity import (
    calculate_color_similarity,
    calculate_structural_similarity,
)
from replicate_proxy.images.task import EncodingFailedError, UnreadableImageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from replicate_proxy.images.encode import TargetFormat
    from replicate_proxy.images.options import ImageOptions


# Up to this size an image is its own sample, so that the encoded sample is the encoded image.
_MAX_WHOLE_SAMPLE_PIXELS = 4_000_000
_TILE_PIXELS = 256
_TILE_COLUMNS, _TILE_ROWS = 6, 4


@dataclass(frozen=True)
class QualityChoice:
    """`encoded` is the sample at that quality, with the full resolution of color if it needs that.

    `is_similar_enough` is False if no quality was; the choice is then the last that was tried.
    """

    quality: int
    full_color: bool
    similarity: float
    encoded: bytes
    is_color_wrong: bool
    is_similar_enough: bool


def choose_quality(
    sample: Image.Image,
    format_name: TargetFormat,
    options: ImageOptions,
    *,
    size: tuple[int, int],
    exif: bytes = b"",
) -> QualityChoice:
    """Encode the sample at rising qualities until it is similar enough; the last try is returned in any case.

    `size` is that of the image. Where the color is not similar enough, its full resolution is encoded. A
    quality in the options is the only one tried, and always similar enough. Raises EncodingFailedError.
    """
    can_use_full_color = has_full_color(format_name, size)
    qualities = ENCODERS[format_name].qualities if options.quality is None else (options.quality,)
    full_color = False
    for quality in qualities:
        choice = _try_quality(sample, format_name, quality, options, full_color=full_color, exif=exif)
        if choice.is_color_wrong and can_use_full_color and not full_color:
            full_color = True
            choice = _try_quality(sample, format_name, quality, options, full_color=full_color, exif=exif)
        if choice.is_similar_enough or (choice.is_color_wrong and not can_use_full_color):
            # A higher quality does not help without the full resolution of color.
            break
    return choice


def _try_quality(
    sample: Image.Image,
    format_name: TargetFormat,
    quality: int,
    options: ImageOptions,
    *,
    full_color: bool,
    exif: bytes,
) -> QualityChoice:
    encoded = encode_still(sample, format_name, quality, full_color=full_color, exif=exif)
    with open_encoded(encoded) as decoded:
        color_similarity = calculate_color_similarity(sample, decoded)
        similarity = min(color_similarity, calculate_structural_similarity(sample, decoded))
    return QualityChoice(
        quality=quality,
        full_color=full_color,
        similarity=round(similarity, 4),
        encoded=encoded,
        is_color_wrong=color_similarity < options.min_similarity,
        is_similar_enough=options.quality is not None or similarity >= options.min_similarity,
    )


def build_sample(image: Image.Image) -> Image.Image:
    """Return the image itself, or a mosaic of 24 tiles spread over a large one.

    The mosaic bounds time and memory, and its similarity is close to that of the whole image.
    """
    if image.width * image.height <= _MAX_WHOLE_SAMPLE_PIXELS or min(image.size) < _TILE_PIXELS:
        return image
    mosaic = Image.new(image.mode, (_TILE_COLUMNS * _TILE_PIXELS, _TILE_ROWS * _TILE_PIXELS))
    for row in range(_TILE_ROWS):
        for column in range(_TILE_COLUMNS):
            left = (image.width - _TILE_PIXELS) * column // (_TILE_COLUMNS - 1)
            top = (image.height - _TILE_PIXELS) * row // (_TILE_ROWS - 1)
            tile = image.crop((left, top, left + _TILE_PIXELS, top + _TILE_PIXELS))
            mosaic.paste(tile, (column * _TILE_PIXELS, row * _TILE_PIXELS))
    return mosaic


@contextmanager
def open_encoded(encoded: bytes) -> Iterator[Image.Image]:
    """Open an image that was just encoded.

    Raises EncodingFailedError in place of decoder errors: what we cannot decode, others cannot either.
    """
    try:
        with (
            translate_decoder_errors(),
            Image.open(io.BytesIO(encoded), formats=ALLOWED_FORMATS) as decoded,
        ):
            yield decoded
    except UnreadableImageError as error:
        is_out_of_memory = error.reason == "memory_limit"
        raise EncodingFailedError("memory_limit" if is_out_of_memory else "encoding_failed") from error
