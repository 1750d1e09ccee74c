"""Bytes of one image in one format and quality. Effort and quality are measured choices: docs/images.md."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from replicate_proxy.images.errors import EncodingFailedError

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["ENCODINGS", "Encoding", "encode", "encode_lossless", "encode_moving"]

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
