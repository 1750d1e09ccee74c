"""What an image may cost. Pure.

What compressing an image came to. Pure; crosses the pipe between child and parent as JSON.

Why an image cannot be used, as a `Reason`.

What the child is asked to do with one file, and how a compressed one is handed back.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal

from replicate_proxy.errors import PermanentError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from replicate_proxy.images.encode import TargetFormat
    from replicate_proxy.images.options import ImageOptions


@dataclass(frozen=True)
class ImageLimits:
    """`pixels` are summed over all frames; `memory_mb` and `seconds` are walls around the child process."""

    max_pixels: int = 50_000_000
    max_bytes: int = 50_000_000
    max_frames: int = 200
    max_text_bytes: int = 16_384
    max_memory_mb: int = 400
    timeout_seconds: float = 25.0


class ImageOutcome(StrEnum):
    """What became of an image."""

    COMPRESSED = "compressed"
    """The output file holds the image, smaller than its source."""
    UNMODIFIED = "unmodified"
    """The image was read and its pixels are to be stored as they are; `reason` says why."""
    UNREADABLE = "unreadable"
    """The image could not be decoded; `reason` says why."""


type ImageReason = Literal[
    "",
    "original_requested",
    "not_smaller",
    "below_min_similarity",
    "encoding_failed",
    "too_many_pixels",
    "too_many_bytes",
    "too_many_frames",
    "format_not_allowed",
    "broken",
    "text_limit",
    "memory_limit",
    "time_limit",
    "worker_crashed",
]

# The file was not found broken, it only costs more than we spend: it is kept as an image.
LIMIT_REASONS: frozenset[ImageReason] = frozenset(
    {"too_many_pixels", "too_many_bytes", "too_many_frames", "memory_limit", "time_limit"}
)


@dataclass(frozen=True)
class ImageResult:
    """What became of one image.

    `compressed`: the new bytes are in the output file. `kept`: readable, the source stays. `unreadable`:
    not decoded.

    Sizes in pixels and bytes, `format` lower-case of what is to be stored, `similarity` 0–1 or None where not
    measured, `placeholder` a BlurHash, `text` the models' own metadata (PNG text chunks, EXIF, comments).
    """

    outcome: ImageOutcome
    reason: ImageReason = ""
    format: str = ""
    source_format: str = ""
    width: int = 0
    height: int = 0
    frame_count: int = 1
    bytes_before: int = 0
    bytes_after: int = 0
    sha256: str = ""
    quality: int | None = None
    similarity: float | None = None
    placeholder: str = ""
    thumbnail_bytes: int = 0
    text: Mapping[str, str] = field(default_factory=dict)

    def with_failure(self, reason: ImageReason) -> ImageResult:
        """This result for a file that could not be decoded."""
        outcome = ImageOutcome.UNMODIFIED if reason in LIMIT_REASONS else ImageOutcome.UNREADABLE
        return replace(self, outcome=outcome, reason=reason)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> ImageResult:
        return cls(**{**values, "outcome": ImageOutcome(values["outcome"])})


class EncodingFailedError(PermanentError):
    """The image was read but could not be written in the format wanted; the source is kept."""

    def __init__(self, reason: ImageReason) -> None:
        super().__init__(reason)
        self.reason: ImageReason = reason


class UnreadableImageError(PermanentError):
    """The file is not an image that we decode; the original is kept as it is."""

    def __init__(self, reason: ImageReason) -> None:
        super().__init__(reason)
        self.reason: ImageReason = reason


@dataclass(frozen=True)
class ImageTask:
    """Files to read and to write; `output` is written where the result names a `sha256`."""

    source: Path
    output: Path
    thumbnail: Path
    options: ImageOptions
    limits: ImageLimits


def write_result(
    encoded: bytes, format_name: TargetFormat, task: ImageTask, result: ImageResult
) -> ImageResult:
    """Writes the output file, unless it would be no smaller than the source."""
    if len(encoded) >= result.bytes_before:
        return replace(result, reason="not_smaller")
    task.output.write_bytes(encoded)
    digest = hashlib.sha256(encoded).hexdigest()
    return replace(
        result, outcome=ImageOutcome.COMPRESSED, format=format_name, bytes_after=len(encoded), sha256=digest
    )
