"""What the child is asked to do with one file, and how a compressed one is handed back."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from replicate_proxy.images.encode import Target
    from replicate_proxy.images.limits import ImageLimits
    from replicate_proxy.images.result import ImageResult
    from replicate_proxy.outputs.options import ImageOptions

__all__ = ["Job", "hand_over"]


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
