"""The curve of an encoder for one picture, from quality to bytes and score, and bytes at equal score."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tools.bench.images_scoring import Score


@dataclass(frozen=True)
class Point:
    """A picture encoded at one quality (None: without loss), and the processor time of that."""

    quality: int | None
    bytes: int
    score: Score
    milliseconds: float


def interpolate_bytes(curve: Sequence[Point], score: float) -> float:
    """Return the bytes at which the curve reaches a SSIMULACRA2 score, linear in the logarithm of bytes.

    Below the curve it is its smallest file. Above it is the largest file, which does not reach the score:
    callers must see to it that this is to the disadvantage of what they recommend.
    """
    points = sorted(curve, key=lambda point: point.bytes)
    for lower, upper in pairwise(points):
        if lower.score.ssimulacra2 >= score:
            return lower.bytes
        if upper.score.ssimulacra2 >= score:
            span = upper.score.ssimulacra2 - lower.score.ssimulacra2
            share = (score - lower.score.ssimulacra2) / span
            return math.exp(math.log(lower.bytes) * (1 - share) + math.log(upper.bytes) * share)
    return points[-1].bytes


def reaches(curve: Iterable[Point], score: float) -> bool:
    """Return whether any point of the curve has that SSIMULACRA2 score."""
    return any(point.score.ssimulacra2 >= score for point in curve)


def geometric_mean(ratios: Iterable[float]) -> float:
    """Return the mean of ratios, in which half and double cancel each other out."""
    return math.exp(fmean(math.log(ratio) for ratio in ratios))
