"""What an image may cost. Pure."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ImageLimits"]


@dataclass(frozen=True)
class ImageLimits:
    """`pixels` are summed over all frames; `memory_mb` and `seconds` are walls around the child process."""

    pixels: int = 50_000_000
    bytes: int = 50_000_000
    frames: int = 200
    text_bytes: int = 16_384
    memory_mb: int = 400
    seconds: float = 25.0
