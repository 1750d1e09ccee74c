"""The lowest quality of a format's ladder that still looks like the source."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PIL import Image

from replicate_proxy.images.encode import ENCODINGS, Target, encode
from replicate_proxy.images.reading import ALLOWED_FORMATS
from replicate_proxy.images.similarity import similarity

if TYPE_CHECKING:
    from replicate_proxy.outputs.options import ImageOptions

__all__ = ["Choice", "choose_quality", "sample_of"]

# Up to here the whole image is its own sample and what was encoded to be judged is what gets stored.
_WHOLE_PIXELS = 4_000_000
_TILE = 256
_TILES_ACROSS, _TILES_DOWN = 6, 4


@dataclass(frozen=True)
class Choice:
    """`encoded` are the sample's bytes at that quality; `reached` is False when even the last step stayed
    below.
    """

    quality: int
    similarity: float
    encoded: bytes
    reached: bool


def choose_quality(
    sample: Image.Image, target: Target, options: ImageOptions, *, exif: bytes = b""
) -> Choice:
    """Encodes, decodes and compares step by step. A quality asked for by number is taken, only measured."""
    ladder = (options.quality,) if options.quality is not None else ENCODINGS[target].ladder
    floor = options.floor if options.quality is None else 0.0
    for quality in ladder:
        encoded = encode(sample, target, quality, exif=exif)
        score = _score(sample, encoded)
        choice = Choice(quality, round(score, 4), encoded, reached=score >= floor)
        if choice.reached:
            break
    return choice


def sample_of(image: Image.Image) -> Image.Image:
    """The image itself, or of a large one 24 tiles spread over it: the same judgement at bounded time and
    memory.
    """
    if image.width * image.height <= _WHOLE_PIXELS or min(image.size) < _TILE:
        return image
    mosaic = Image.new(image.mode, (_TILES_ACROSS * _TILE, _TILES_DOWN * _TILE))
    for row in range(_TILES_DOWN):
        for column in range(_TILES_ACROSS):
            left = (image.width - _TILE) * column // (_TILES_ACROSS - 1)
            top = (image.height - _TILE) * row // (_TILES_DOWN - 1)
            tile = image.crop((left, top, left + _TILE, top + _TILE))
            mosaic.paste(tile, (column * _TILE, row * _TILE))
    return mosaic


def _score(sample: Image.Image, encoded: bytes) -> float:
    with Image.open(io.BytesIO(encoded), formats=ALLOWED_FORMATS) as decoded:
        return similarity(sample, decoded)
