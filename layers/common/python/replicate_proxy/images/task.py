"""One image's task, its limits and its result, as parent and child process exchange them.

Tasks and results cross the pipe between the processes as JSON; the files themselves are passed by path.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal

from replicate_proxy.errors import PermanentError, RetryableError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from replicate_proxy.images.encode import TargetFormat
    from replicate_proxy.images.options import ImageOptions


type ImageReason = Literal[
    "",
    "original_requested",
    "not_smaller",
    "below_min_score",
    "encoding_failed",
    "hdr",
    "too_many_pixels",
    "too_many_bytes",
    "too_many_frames",
    "format_not_allowed",
    "broken",
    "memory_limit",
    "time_limit",
    "worker_crashed",
]


@dataclass(frozen=True)
class ImageLimits:
    """Limits on one image. `max_pixels` counts the pixels of all frames.

    Images of up to `max_bytes` are decoded, and the metadata of files of up to `max_file_bytes` is removed.
    `max_memory_mb` and `timeout_seconds` are enforced on the child process from outside.
    `strip_timeout_seconds` is for what is left to do then: to remove the metadata.
    """

    max_pixels: int = 50_000_000
    max_bytes: int = 50_000_000
    max_file_bytes: int = 500 * 1024 * 1024
    max_frames: int = 200
    max_text_bytes: int = 16_384
    max_memory_mb: int = 400
    timeout_seconds: float = 22.0
    strip_timeout_seconds: float = 5.0


@dataclass(frozen=True)
class ImageTask:
    """The source to read, and the files to write: `output` (see `ImageResult.sha256`) and `thumbnail`.

    `failure` is why an earlier try to decode the source failed: only its metadata is then to be removed.
    """

    source: Path
    output: Path
    thumbnail: Path
    options: ImageOptions
    limits: ImageLimits
    failure: ImageReason | None = None


class ImageOutcome(StrEnum):
    """The outcome of an image task."""

    COMPRESSED = "compressed"
    """The output file holds the image, smaller than its source."""
    UNMODIFIED = "unmodified"
    """The image is to be stored with its original pixels; the result's `reason` says why."""
    UNREADABLE = "unreadable"
    """The image could not be decoded; the result's `reason` says why."""


# The file exceeds a limit but is not known to be broken, so it is stored as an image.
_LIMIT_REASONS: frozenset[ImageReason] = frozenset(
    {"too_many_pixels", "too_many_bytes", "too_many_frames", "memory_limit", "time_limit"}
)


@dataclass(frozen=True)
class ImageResult:
    """The outcome of one image task, and the properties of the image.

    `sha256` is set if the output file was written: the compressed image, or the image without its metadata.
    If it is empty, the source itself is to be stored, but published only with `is_source_publishable`: it has
    no metadata, or the caller asked for it. Sizes are in bytes and pixels. `format` (lower case) is
    that of the file to store, `source_format` that of the source. `score` is the estimated SSIMULACRA2, or
    None where it was not estimated. `placeholder` is a BlurHash. `text` is the metadata that the model
    wrote: PNG text chunks, EXIF, comments.
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
    is_source_publishable: bool = False
    quality: int | None = None
    score: float | None = None
    placeholder: str = ""
    thumbnail_bytes: int = 0
    text: Mapping[str, str] = field(default_factory=dict)

    def with_failure(self, reason: ImageReason) -> ImageResult:
        """Return this result for an image that was not decoded, for that reason."""
        outcome = ImageOutcome.UNMODIFIED if reason in _LIMIT_REASONS else ImageOutcome.UNREADABLE
        return replace(self, outcome=outcome, reason=reason)

    @property
    def is_publishable(self) -> bool:
        """Return whether there is a file that may be published: the output file, or the source."""
        return bool(self.sha256) or self.is_source_publishable

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> ImageResult:
        return cls(**{**values, "outcome": ImageOutcome(values["outcome"])})


class UnreadableImageError(PermanentError):
    """The image could not be decoded."""

    def __init__(self, reason: ImageReason) -> None:
        super().__init__(reason)
        self.reason: ImageReason = reason


class CompressionDeferredError(RetryableError):
    """The deadline did not leave the time for the image: a later invocation has to compress it."""


class EncodingFailedError(PermanentError):
    """The image was decoded but could not be encoded in the target format."""

    def __init__(self, reason: ImageReason) -> None:
        super().__init__(reason)
        self.reason: ImageReason = reason


def write_result(
    encoded: bytes, format_name: TargetFormat, task: ImageTask, result: ImageResult
) -> ImageResult:
    """Write the compressed image to the output file, unless it is not smaller than the source."""
    if len(encoded) >= result.bytes_before:
        return replace(result, reason="not_smaller")
    return replace(write_output(encoded, format_name, task, result), outcome=ImageOutcome.COMPRESSED)


def write_output(encoded: bytes, format_name: str, task: ImageTask, result: ImageResult) -> ImageResult:
    """Write the output file, in place of the source."""
    task.output.write_bytes(encoded)
    return replace(
        result,
        format=format_name,
        bytes_after=len(encoded),
        sha256=hashlib.sha256(encoded).hexdigest(),
    )
