"""Score encoded images against their sources: SSIMULACRA2, and structural similarity (SSIM) on luma.

SSIMULACRA2 is that of PyPI's `ssimulacra2`, a port of libjxl's tool: 100 is the same image, 90 can hardly be
told apart, 70 is high, 50 medium and 30 low quality (Cloudinary, "SSIMULACRA 2", README). One score of
384 × 384 pixels takes a quarter of a second, so pictures are small and all processors score.
"""

from __future__ import annotations

import io
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from skimage.metrics import structural_similarity
from ssimulacra2 import compute_ssimulacra2

if TYPE_CHECKING:
    from collections.abc import Iterable


# Gray levels that a transparent image is laid over, dark and light; the lower score counts. The package's own
# function for transparent images drops the alpha channel.
_GROUNDS = (26, 230)


@dataclass(frozen=True)
class Score:
    """`ssimulacra2` is at most 100 and may be negative, `ssim` at most 1."""

    ssimulacra2: float
    ssim: float


def score_all(pairs: Iterable[tuple[Image.Image, bytes]]) -> list[Score]:
    """Return the scores of encoded images, each beside its source."""
    # Each process computes on one processor.
    os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"
    with ProcessPoolExecutor(os.process_cpu_count()) as pool:
        return list(pool.map(_score, pairs, chunksize=8))


def _score(pair: tuple[Image.Image, bytes]) -> Score:
    source, encoded = pair
    with Image.open(io.BytesIO(encoded)) as opened:
        decoded = opened.convert(source.mode)
    grounds = _GROUNDS if source.mode == "RGBA" else _GROUNDS[:1]
    pairs = [(flatten(source, ground), flatten(decoded, ground)) for ground in grounds]
    return Score(
        ssimulacra2=float(min(compute_ssimulacra2(_to_file(x), _to_file(y)) for x, y in pairs)),
        ssim=min(calculate_ssim(first, second) for first, second in pairs),
    )


def flatten(image: Image.Image, ground: int) -> Image.Image:
    """Return the image as RGB, a transparent one on a gray ground."""
    if image.mode != "RGBA":
        return image.convert("RGB")
    return Image.alpha_composite(Image.new("RGBA", image.size, (ground,) * 3 + (255,)), image).convert("RGB")


def calculate_ssim(first: Image.Image, second: Image.Image) -> float:
    """Return scikit-image's structural similarity on luma."""
    x, y = np.asarray(first.convert("L")), np.asarray(second.convert("L"))
    return float(structural_similarity(x, y, data_range=255))


def encode_png(image: Image.Image) -> bytes:
    """Return the image as a PNG file."""
    return _to_file(image).getvalue()


def _to_file(image: Image.Image) -> io.BytesIO:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=6)
    buffer.seek(0)
    return buffer
