"""What an image may cost. Pure.

What compressing an image came to. Pure; crosses the pipe between child and parent as JSON.

Why an image cannot be used, as a `Reason`.

What the child is asked to do with one file, and how a compressed one is handed back.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from replicate_proxy.errors import PermanentError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from replicate_proxy.images.encode import Target
    from replicate_proxy.images.options import ImageOptions


@dataclass(frozen=True)
class ImageLimits:
    """`pixels` are summed over all frames; `memory_mb` and `seconds` are walls around the child process."""

    pixels: int = 50_000_000
    bytes: int = 50_000_000
    frames: int = 200
    text_bytes: int = 16_384
    memory_mb: int = 400
    seconds: float = 25.0


type Outcome = Literal["compressed", "kept", "unreadable"]
type Reason = Literal[
    "",
    "asked_for_original",
    "not_smaller",
    "below_similarity_floor",
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
LIMIT_REASONS: frozenset[Reason] = frozenset(
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

    outcome: Outcome
    reason: Reason = ""
    format: str = ""
    source_format: str = ""
    width: int = 0
    height: int = 0
    frames: int = 1
    bytes_before: int = 0
    bytes_after: int = 0
    sha256: str = ""
    quality: int | None = None
    similarity: float | None = None
    placeholder: str = ""
    thumbnail_bytes: int = 0
    text: Mapping[str, str] = field(default_factory=dict)

    def failed(self, reason: Reason) -> ImageResult:
        """This result for a file that could not be decoded."""
        return replace(self, outcome="kept" if reason in LIMIT_REASONS else "unreadable", reason=reason)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> ImageResult:
        return cls(**values)


class EncodingFailedError(PermanentError):
    """The image was read but could not be written in the format wanted; the source is kept."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason: Reason = reason


class UnreadableImageError(PermanentError):
    """The file is not an image that we decode; the original is kept as it is."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason: Reason = reason


@dataclass(frozen=True)
class Job:
    """Files to read and to write; `output` is written where the result names a `sha256`."""

    source: Path
    output: Path
    thumbnail: Path
    options: ImageOptions
    limits: ImageLimits


def hand_over(encoded: bytes, target: Target, job: Job, facts: ImageResult) -> ImageResult:
    """Writes the output file, unless it would be no smaller than the source."""
    if len(encoded) >= facts.bytes_before:
        return replace(facts, reason="not_smaller")
    job.output.write_bytes(encoded)
    digest = hashlib.sha256(encoded).hexdigest()
    return replace(facts, outcome="compressed", format=target, bytes_after=len(encoded), sha256=digest)
