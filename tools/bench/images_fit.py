"""Fit the weights of the estimate of SSIMULACRA2 (`replicate_proxy.images.score`), and say how far it is off.

Run `.venvs/bench/bin/python -m tools.bench.images_fit` after a change of the estimate, and copy the weights
that it prints. Fitted pictures and measured ones are different (see `images_corpus`). It takes some minutes.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image
from scipy.optimize import nnls

from replicate_proxy.images.score import WEIGHTS, ScoreReference, calculate_score, map_to_score
from tools.bench.images_corpus import load_fitted_pictures, load_measured_pictures
from tools.bench.images_scoring import score_all

if TYPE_CHECKING:
    from collections.abc import Sequence

    from replicate_proxy.images.score import Difference
    from tools.bench.images_corpus import Picture

# Pillow's format and options, and the qualities.
_ENCODERS: tuple[tuple[str, dict[str, Any], tuple[int, ...]], ...] = (
    ("WEBP", {"method": 2}, (40, 60, 72, 80, 88, 95)),
    ("AVIF", {"speed": 9, "subsampling": "4:4:4", "max_threads": 1}, (35, 45, 55, 63, 72, 85)),
    ("JPEG", {}, (60, 75, 85, 95)),
    ("JPEG", {"subsampling": "4:4:4"}, (65, 82)),
)
# Scores that matter, between what is bad and what cannot be told apart. Others count less.
_SCORES = (45.0, 90.0)
_OTHERS_WEIGHT = 0.15


@dataclass(frozen=True)
class Sample:
    """An encoded picture: its differences from the source, of the worse ground, and its SSIMULACRA2 score."""

    differences: dict[Difference, float]
    score: float


def main() -> None:
    weights = fit_weights(measure_samples(load_fitted_pictures()))
    for difference, weight in weights.items():
        print(f"    {difference}: {weight:.4g},")
    print_errors("shipped weights", measure_samples(load_measured_pictures()))


def measure_samples(pictures: Sequence[Picture]) -> list[Sample]:
    pairs, differences = [], []
    for picture in pictures:
        reference = ScoreReference(picture.image)
        for kind, options, qualities in _ENCODERS:
            if kind == "JPEG" and picture.image.mode == "RGBA":
                continue
            for quality in qualities:
                buffer = io.BytesIO()
                picture.image.save(buffer, kind, quality=quality, **options)
                with Image.open(buffer) as decoded:
                    grounds = list(reference.measure_differences(decoded))
                pairs.append((picture.image, buffer.getvalue()))
                differences.append(max(grounds, key=lambda ground: sum(ground.values())))
    scores = score_all(pairs)
    return [Sample(item, score.ssimulacra2) for item, score in zip(differences, scores, strict=True)]


def fit_weights(samples: Sequence[Sample]) -> dict[Difference, float]:
    """Return the weights, none negative, with the least squares of errors of the score."""
    sums = np.linspace(0, 400, 400_001)
    scores = np.array([map_to_score(value) for value in sums])
    matrix = np.array([[sample.differences[name] for name in WEIGHTS] for sample in samples])
    targets = np.array([sample.score for sample in samples])
    # The weighted sum that has each score, and how much the score changes with it.
    wanted = np.interp(-targets, -scores, sums)
    slopes = np.interp(wanted, sums, -np.gradient(scores, sums))
    slopes *= np.where((targets > _SCORES[0]) & (targets < _SCORES[1]), 1.0, _OTHERS_WEIGHT)
    weights, _ = nnls(matrix * slopes[:, None], wanted * slopes)
    return dict(zip(WEIGHTS, weights, strict=True))


def print_errors(title: str, samples: Sequence[Sample]) -> None:
    """Print errors of the estimate where it matters, and the scores of what it takes for good enough."""
    relevant = [sample for sample in samples if _SCORES[0] < sample.score < _SCORES[1]]
    estimates = np.array([calculate_score(sample.differences) for sample in relevant])
    scores = np.array([sample.score for sample in relevant])
    errors = estimates - scores
    print(f"{title}: {len(scores)} encoded pictures, scores {_SCORES[0]:.0f} to {_SCORES[1]:.0f}")
    root_mean_square = np.sqrt((errors**2).mean())
    print(f"  root mean square error {root_mean_square:.2f}, {errors.min():.1f} to {errors.max():.1f}")
    print(f"  correlation {np.corrcoef(estimates, scores)[0, 1]:.3f}")
    for limit in (65, 70, 73):
        lowest = scores[estimates >= limit].min()
        print(f"  lowest score where the estimate is at least {limit}: {lowest:.1f}")


if __name__ == "__main__":
    main()
