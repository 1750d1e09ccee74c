"""Bytes of one image in one format and quality. Effort and quality are measured choices: docs/images.md.

Which format an image is written in: the one asked for, unless it cannot hold this image or costs too much.

Working memory per pixel was measured (docs/images.md): Pillow's WebP encoder 10 bytes, with transparency 24,
AVIF 27, JPEG 5. The limits below keep the whole function, child and parent, within 300 MB for opaque images.

The lowest quality of a format's ladder that still looks like the source.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from PIL import Image

from replicate_proxy.images.reading import ALLOWED_FORMATS
from replicate_proxy.images.similarity import similarity
from replicate_proxy.images.task import EncodingFailedError

if TYPE_CHECKING:
    from replicate_proxy.images.options import ImageOptions


# libwebp's VP8_ENC_ERROR_OUT_OF_MEMORY and its bitstream twin, libavif's and Pillow's own words.
_OUT_OF_MEMORY: Final = ("encoding error 1", "encoding error 2", "Out of memory", "out of memory")

type Target = Literal["webp", "avif", "jpeg"]


@dataclass(frozen=True)
class Encoding:
    """`ladder`: the default quality and the steps up from it; `settings` are Pillow's for this format."""

    pillow_name: str
    ladder: tuple[int, ...]
    settings: dict[str, Any]


ENCODINGS: Final[dict[Target, Encoding]] = {
    "webp": Encoding("WEBP", (80, 87, 92, 96), {"method": 2}),
    "avif": Encoding("AVIF", (63, 72, 80, 88), {"speed": 9, "max_threads": 1}),
    "jpeg": Encoding("JPEG", (82, 88, 92, 95), {}),
}


def encode(image: Image.Image, target: Target, quality: int, *, exif: bytes = b"") -> bytes:
    """A still image; RGBA must not go to JPEG. `exif` is all the metadata that gets into the file."""
    return _save(image, target, quality=quality, exif=exif, **ENCODINGS[target].settings)


def encode_lossless(image: Image.Image, *, exif: bytes = b"") -> bytes:
    """Lossless WebP, for drawings of few colours, which it makes smaller than lossy does."""
    return _save(image, "webp", lossless=True, quality=40, method=2, exif=exif)


def encode_moving(
    image: Image.Image, target: Target, quality: int, *, durations: list[int], exif: bytes = b""
) -> bytes:
    """All frames of an animation with their durations in milliseconds; its colour profile goes along."""
    return _save(
        image,
        target,
        quality=quality,
        exif=exif,
        xmp=b"",
        icc_profile=image.info.get("icc_profile", b""),
        save_all=True,
        duration=durations,
        loop=int(image.info.get("loop", 0) or 0),
        **ENCODINGS[target].settings,
    )


def _save(image: Image.Image, target: Target, **settings: Any) -> bytes:
    buffer = io.BytesIO()
    try:
        image.save(buffer, ENCODINGS[target].pillow_name, **settings)
    except MemoryError as error:
        raise EncodingFailedError("memory_limit") from error
    except (OSError, ValueError, RuntimeError) as error:
        out_of_memory = any(mark in str(error) for mark in _OUT_OF_MEMORY)
        raise EncodingFailedError("memory_limit" if out_of_memory else "encoding_failed") from error
    return buffer.getvalue()


_AVIF_PIXELS = 8_000_000
_WEBP_PIXELS = 20_000_000
# RFC 9649: 14 bits for each edge.
_WEBP_EDGE = 16_383


def target_of(
    options: ImageOptions, size: tuple[int, int], *, transparent: bool = False, moving: bool = False
) -> Target:
    """JPEG has neither transparency nor motion: such an image becomes WebP. Very large ones become JPEG."""
    pixels = size[0] * size[1]
    fits_webp = pixels <= _WEBP_PIXELS and max(size) <= _WEBP_EDGE
    jpeg_will_do = not transparent and not moving
    if options.format == "jpeg" and jpeg_will_do:
        return "jpeg"
    if options.format == "avif" and pixels <= _AVIF_PIXELS:
        return "avif"
    return "jpeg" if jpeg_will_do and not fits_webp else "webp"


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
