"""Size against similarity for every format and quality, ours as shipped, and the plot that an operator
chooses by.
"""

from __future__ import annotations

import io
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import matplotlib as mpl
import numpy as np
from PIL import Image
from skimage.metrics import structural_similarity

from replicate_proxy.images.options import ImageOptions
from replicate_proxy.images.pipeline import process_image
from replicate_proxy.images.task import ImageLimits, ImageTask
from tools.bench.images_corpus import photographs
from tools.bench.results import record

PLOT = Path(__file__).resolve().parents[2] / "docs" / "images" / "size-against-similarity.svg"
# us-east-1 list prices: a GB-second of Lambda on arm64 at 1,769 MB (one core), a GB stored a month, a GB
# delivered.
SECOND, STORED, DELIVERED = 1.728 * 0.0000133334, 0.023, 0.085
CURVES: dict[str, tuple[str, dict[str, Any], tuple[int, ...]]] = {
    "WebP, method 4 (default of most)": ("WEBP", {"method": 4}, (60, 70, 75, 80, 85, 90, 95)),
    "WebP, method 2 (ours)": ("WEBP", {"method": 2}, (60, 70, 75, 80, 85, 90, 95)),
    "WebP, method 1": ("WEBP", {"method": 1}, (60, 70, 75, 80, 85, 90, 95)),
    "AVIF, speed 6": ("AVIF", {"speed": 6, "max_threads": 1}, (50, 57, 63, 70, 80)),
    "AVIF, speed 9 (ours)": ("AVIF", {"speed": 9, "max_threads": 1}, (50, 57, 63, 70, 80, 88)),
    "JPEG (ours)": ("JPEG", {}, (70, 75, 80, 82, 88, 92)),
}


@dataclass(frozen=True)
class Point:
    """Means over the photographs: bytes as a share of the PNG's, similarity, milliseconds of encoding."""

    quality: int
    share: float
    ssim: float
    lowest: float
    ms: float
    size: float

    @property
    def dollars(self) -> float:
        """A thousand pictures: encoded, stored a year, each delivered ten times."""
        gigabytes = self.size * 1000 / 1e9
        return 1000 * self.ms / 1000 * SECOND + gigabytes * (12 * STORED + 10 * DELIVERED)


def main() -> None:
    """The curves, then our pipeline with its defaults on the same photographs."""
    pngs = {name: png(image) for name, image in photographs().items()}
    curves = {name: [measure(curve, quality, pngs) for quality in curve[2]] for name, curve in CURVES.items()}
    table(curves)
    plot(curves)
    ours(pngs)


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def ssim(one: Image.Image, other: Image.Image) -> float:
    """scikit-image's, on luma."""
    return float(
        structural_similarity(np.asarray(one.convert("L")), np.asarray(other.convert("L")), data_range=255)
    )


def measure(
    curve: tuple[str, dict[str, Any], tuple[int, ...]], quality: int, pngs: dict[str, bytes]
) -> Point:
    kind, settings, _ = curve
    scores, sizes, times = [], [], []
    for image in photographs().values():
        buffer = io.BytesIO()
        began = time.perf_counter()
        image.save(buffer, kind, quality=quality, **settings)
        times.append(1000 * (time.perf_counter() - began))
        sizes.append(buffer.tell())
        with Image.open(buffer) as decoded:
            scores.append(ssim(image, decoded))
    share = sum(sizes) / sum(len(content) for content in pngs.values())
    return Point(quality, share, mean(scores), min(scores), mean(times), mean(sizes))


def table(curves: dict[str, list[Point]]) -> None:
    print("| encoder | quality | bytes, % of PNG | mean SSIM | min SSIM | ms | $ per 1,000 |")
    print("|---|---|---|---|---|---|---|")
    for name, points in curves.items():
        for p in points:
            print(
                f"| {name} | {p.quality} | {100 * p.share:.1f} | {p.ssim:.4f} | {p.lowest:.4f} | {p.ms:.0f} "
                f"| {p.dollars:.4f} |"
            )


def plot(curves: dict[str, list[Point]]) -> None:
    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "replicate-proxy"
    from matplotlib import pyplot as plt  # noqa: PLC0415 - after the backend was chosen

    figure, axes = plt.subplots(figsize=(8, 5))
    for name, points in curves.items():
        (line,) = axes.plot(
            [100 * p.share for p in points], [p.ssim for p in points], marker="o", ms=4, label=name
        )
        for p in points[::2]:
            axes.annotate(
                str(p.quality), (100 * p.share, p.ssim), fontsize=7, color=line.get_color(), va="bottom"
            )
    axes.axhline(0.955, color="grey", lw=0.8, ls=":")
    axes.axvline(10, color="grey", lw=0.8, ls=":")
    axes.set(xlabel="bytes, % of the source PNG", ylabel="mean SSIM (luma)", xlim=(2, 20), ylim=(0.92, 0.99))
    axes.legend(loc="lower right", fontsize=8, frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    PLOT.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(PLOT, metadata={"Date": None}, bbox_inches="tight")
    print(f"wrote {PLOT.name}")


def ours(pngs: dict[str, bytes]) -> None:
    """The pipeline as it ships, similarity floor included."""
    scores, after = [], 0
    with tempfile.TemporaryDirectory() as folder:
        source, output, thumbnail = (Path(folder, name) for name in ("source", "output", "thumbnail"))
        for name, content in pngs.items():
            source.write_bytes(content)
            result = process_image(ImageTask(source, output, thumbnail, ImageOptions(), ImageLimits()))
            after += result.bytes_after
            with Image.open(output) as stored:
                scores.append(ssim(photographs()[name], stored))
            print(
                f"  {name:20} q{result.quality} "
                f"{100 * result.bytes_after / len(content):5.1f} % SSIM {scores[-1]:.4f}"
            )
    share = after / sum(len(content) for content in pngs.values())
    record("image.bytes_ratio", round(share, 4), "of PNG", "<= 0.10", share <= 0.10)
    record("image.ssim_mean", round(mean(scores), 4), "SSIM", ">= 0.955", mean(scores) >= 0.955)
    record("image.ssim_min", round(min(scores), 4), "SSIM", ">= 0.94", min(scores) >= 0.94)


if __name__ == "__main__":
    main()
