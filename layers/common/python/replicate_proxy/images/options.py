"""Image options that a request or a tenant may choose. No I/O."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, get_args

from replicate_proxy.errors import PermanentError

type ImageFormat = Literal["auto", "webp", "avif", "jpeg", "original"]
_FORMAT_NAMES: tuple[str, ...] = get_args(ImageFormat.__value__)
_QUALITY_PATTERN = re.compile(r"100|[1-9][0-9]?")


class InvalidImageOptionError(PermanentError):
    """An option has an invalid value; `field` is "format" or "quality"."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


@dataclass(frozen=True)
class ImageOptions:
    """How images are compressed; docs/images.md explains the defaults.

    `format` "auto" is AVIF for requests whose Accept header names it (`accepts_avif`), else WebP; "original"
    stores the bytes as they are. `quality` is 1–100, or None for the lowest one that has the `target_score`,
    or at least the `min_score` (both as SSIMULACRA2); a quality given as a number is used as it is.
    `thumbnail_px` is the longest edge of the thumbnail.
    """

    format: ImageFormat = "auto"
    quality: int | None = None
    target_score: float = 71.0
    min_score: float = 65.0
    keep_copyright: bool = False
    thumbnail_px: int = 256
    accepts_avif: bool = False

    @classmethod
    def parse(
        cls,
        *,
        format: str | None = None,  # noqa: A002 - the header and the setting are named so
        quality: str | int | None = None,
        accepts_avif: bool = False,
        defaults: ImageOptions | None = None,
    ) -> ImageOptions:
        """Return the options of header or setting values; None takes the value from `defaults`.

        Raises InvalidImageOptionError.
        """
        defaults = defaults or cls()
        return cls(
            format=defaults.format if format is None else _parse_format(format),
            accepts_avif=accepts_avif or defaults.accepts_avif,
            quality=defaults.quality if quality is None else _parse_quality(quality),
            target_score=defaults.target_score,
            min_score=defaults.min_score,
            keep_copyright=defaults.keep_copyright,
            thumbnail_px=defaults.thumbnail_px,
        )


def _parse_format(text: str) -> ImageFormat:
    match text.strip().lower():
        case "auto":
            return "auto"
        case "webp":
            return "webp"
        case "avif":
            return "avif"
        case "jpeg" | "jpg":
            return "jpeg"
        case "original":
            return "original"
    raise InvalidImageOptionError("format", f"the image format must be one of {', '.join(_FORMAT_NAMES)}")


def _parse_quality(value: str | int) -> int:
    text = str(value).strip()
    if not _QUALITY_PATTERN.fullmatch(text):
        raise InvalidImageOptionError("quality", "the image quality must be a whole number from 1 to 100")
    return int(text)
