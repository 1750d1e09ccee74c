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
from replicate_proxy.images.similarity import calculate_similarity
from replicate_proxy.images.task import EncodingFailedError

if TYPE_CHECKING:
    from replicate_proxy.images.options import ImageOptions


# libwebp's VP8_ENC_ERROR_OUT_OF_MEMORY and its bitstream twin, libavif's and Pillow's own words.
_OUT_OF_MEMORY: Final = ("encoding error 1", "encoding error 2", "Out of memory", "out of memory")

type TargetFormat = Literal["webp", "avif", "jpeg"]


@dataclass(frozen=True)
class EncoderSettings:
    """`ladder`: the default quality and the steps up from it; `settings` are Pillow's for this format."""

    pillow_name: str
    qualities: tuple[int, ...]
    pillow_options: dict[str, Any]


ENCODERS: Final[dict[TargetFormat, EncoderSettings]] = {
    "webp": EncoderSettings("WEBP", (80, 87, 92, 96), {"method": 2}),
    "avif": EncoderSettings("AVIF", (63, 72, 80, 88), {"speed": 9, "max_threads": 1}),
    "jpeg": EncoderSettings("JPEG", (82, 88, 92, 95), {}),
}


def encode_still(image: Image.Image, format_name: TargetFormat, quality: int, *, exif: bytes = b"") -> bytes:
    """A still image; RGBA must not go to JPEG. `exif` is all the metadata that gets into the file."""
    return _save(image, format_name, quality=quality, exif=exif, **ENCODERS[format_name].pillow_options)


def encode_lossless(image: Image.Image, *, exif: bytes = b"") -> bytes:
    """Lossless WebP, for drawings of few colours, which it makes smaller than lossy does."""
    return _save(image, "webp", lossless=True, quality=40, method=2, exif=exif)


def encode_frames(
    image: Image.Image, format_name: TargetFormat, quality: int, *, durations_ms: list[int], exif: bytes = b""
) -> bytes:
    """All frames of an animation with their durations in milliseconds; its colour profile goes along."""
    return _save(
        image,
        format_name,
        quality=quality,
        exif=exif,
        xmp=b"",
        icc_profile=image.info.get("icc_profile", b""),
        save_all=True,
        duration=durations_ms,
        loop=int(image.info.get("loop", 0) or 0),
        **ENCODERS[format_name].pillow_options,
    )


def _save(image: Image.Image, target: TargetFormat, **settings: Any) -> bytes:
    buffer = io.BytesIO()
    try:
        image.save(buffer, ENCODERS[target].pillow_name, **settings)
    except MemoryError as error:
        raise EncodingFailedError("memory_limit") from error
    except (OSError, ValueError, RuntimeError) as error:
        out_of_memory = any(mark in str(error) for mark in _OUT_OF_MEMORY)
        raise EncodingFailedError("memory_limit" if out_of_memory else "encoding_failed") from error
    return buffer.getvalue()


_MAX_AVIF_PIXELS = 8_000_000
_MAX_WEBP_PIXELS = 20_000_000
# RFC 9649: 14 bits for each edge.
_MAX_WEBP_EDGE_PIXELS = 16_383


def choose_format(
    options: ImageOptions, size: tuple[int, int], *, is_transparent: bool = False, is_animated: bool = False
) -> TargetFormat:
    """JPEG has neither transparency nor motion: such an image becomes WebP. Very large ones become JPEG."""
    pixels = size[0] * size[1]
    fits_webp = pixels <= _MAX_WEBP_PIXELS and max(size) <= _MAX_WEBP_EDGE_PIXELS
    jpeg_will_do = not is_transparent and not is_animated
    if options.format == "jpeg" and jpeg_will_do:
        return "jpeg"
    if options.format == "avif" and pixels <= _MAX_AVIF_PIXELS:
        return "avif"
    return "jpeg" if jpeg_will_do and not fits_webp else "webp"


# Up to here the whole image is its own sample and what was encoded to be judged is what gets stored.
_MAX_WHOLE_SAMPLE_PIXELS = 4_000_000
_TILE = 256
_TILES_ACROSS, _TILES_DOWN = 6, 4


@dataclass(frozen=True)
class QualityChoice:
    """`encoded` are the sample's bytes at that quality; `reached` is False when even the last step stayed
    below.
    """

    quality: int
    similarity: float
    encoded: bytes
    is_similar_enough: bool


def choose_quality(
    sample: Image.Image, format_name: TargetFormat, options: ImageOptions, *, exif: bytes = b""
) -> QualityChoice:
    """Encodes, decodes and compares step by step. A quality asked for by number is taken, only measured."""
    ladder = (options.quality,) if options.quality is not None else ENCODERS[format_name].qualities
    floor = options.min_similarity if options.quality is None else 0.0
    for quality in ladder:
        encoded = encode_still(sample, format_name, quality, exif=exif)
        score = _score(sample, encoded)
        choice = QualityChoice(quality, round(score, 4), encoded, is_similar_enough=score >= floor)
        if choice.is_similar_enough:
            break
    return choice


def build_sample(image: Image.Image) -> Image.Image:
    """The image itself, or of a large one 24 tiles spread over it: the same judgement at bounded time and
    memory.
    """
    if image.width * image.height <= _MAX_WHOLE_SAMPLE_PIXELS or min(image.size) < _TILE:
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
        return calculate_similarity(sample, decoded)
