"""What compressing an image came to. Pure; crosses the pipe between child and parent as JSON."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["LIMIT_REASONS", "ImageResult", "Outcome", "Reason"]

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
