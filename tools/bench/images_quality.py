"""Measure size against similarity for each encoder and quality, and for the pipeline as it ships.

Writes the plot and prints the table of docs/images.md.
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
from tools.bench.images_corpus import load_photographs
from tools.bench.results import record_result

PLOT = Path(__file__).resolve().parents[2] / "docs" / "images" / "size-against-similarity.svg"
# us-east-1 list prices in dollars: a second of Lambda on arm64 at 1,769 MB (one core), a GB stored for a
# month, a GB delivered.
LAMBDA_SECOND_PRICE, STORAGE_PRICE, DELIVERY_PRICE = 1.728 * 0.0000133334, 0.023, 0.085
MONTHS_STORED, DELIVERIES = 12, 10


@dataclass(frozen=True)
class Encoder:
    """A format with Pillow's options, and the qualities to measure."""

    kind: str
    options: dict[str, Any]
    qualities: tuple[int, ...]


ENCODERS = {
    "WebP, method 4 (default of most)": Encoder("WEBP", {"method": 4}, (60, 70, 75, 80, 85, 90, 95)),
    "WebP, method 2 (ours)": Encoder("WEBP", {"method": 2}, (60, 70, 75, 80, 85, 90, 95)),
    "WebP, method 1": Encoder("WEBP", {"method": 1}, (60, 70, 75, 80, 85, 90, 95)),
    "AVIF, speed 6": Encoder("AVIF", {"speed": 6, "max_threads": 1}, (50, 57, 63, 70, 80)),
    "AVIF, speed 9 (ours)": Encoder("AVIF", {"speed": 9, "max_threads": 1}, (50, 57, 63, 70, 80, 88)),
    "JPEG (ours)": Encoder("JPEG", {}, (70, 75, 80, 82, 88, 92)),
}


@dataclass(frozen=True)
class Measurement:
    """One encoder at one quality, as means over the photographs.

    `share` is the size relative to the PNG, `milliseconds` the time to encode.
    """

    quality: int
    share: float
    mean_ssim: float
    min_ssim: float
    milliseconds: float
    bytes: float

    @property
    def dollars(self) -> float:
        """Return the cost of a thousand images: encoded, stored for a year, each delivered ten times."""
        seconds = 1000 * self.milliseconds / 1000
        gigabytes = self.bytes * 1000 / 1e9
        price_per_gigabyte = MONTHS_STORED * STORAGE_PRICE + DELIVERIES * DELIVERY_PRICE
        return seconds * LAMBDA_SECOND_PRICE + gigabytes * price_per_gigabyte


def main() -> None:
    pngs = {name: encode_png(image) for name, image in load_photographs().items()}
    curves = {
        name: [measure_encoder(encoder, quality, pngs) for quality in encoder.qualities]
        for name, encoder in ENCODERS.items()
    }
    print_table(curves)
    write_plot(curves)
    measure_pipeline(pngs)


def encode_png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def calculate_ssim(first: Image.Image, second: Image.Image) -> float:
    """Return scikit-image's structural similarity on luma."""
    x, y = np.asarray(first.convert("L")), np.asarray(second.convert("L"))
    return float(structural_similarity(x, y, data_range=255))


def measure_encoder(encoder: Encoder, quality: int, pngs: dict[str, bytes]) -> Measurement:
    ssims, sizes, times = [], [], []
    for image in load_photographs().values():
        buffer = io.BytesIO()
        start = time.perf_counter()
        image.save(buffer, encoder.kind, quality=quality, **encoder.options)
        times.append(1000 * (time.perf_counter() - start))
        sizes.append(buffer.tell())
        with Image.open(buffer) as decoded:
            ssims.append(calculate_ssim(image, decoded))
    share = sum(sizes) / sum(len(content) for content in pngs.values())
    return Measurement(quality, share, mean(ssims), min(ssims), mean(times), mean(sizes))


def print_table(curves: dict[str, list[Measurement]]) -> None:
    print("| encoder | quality | bytes, % of PNG | mean SSIM | min SSIM | ms | $ per 1,000 |")
    print("|---|---|---|---|---|---|---|")
    for name, points in curves.items():
        for point in points:
            print(
                f"| {name} | {point.quality} | {100 * point.share:.1f} | {point.mean_ssim:.4f} "
                f"| {point.min_ssim:.4f} | {point.milliseconds:.0f} | {point.dollars:.4f} |"
            )


def write_plot(curves: dict[str, list[Measurement]]) -> None:
    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "replicate-proxy"
    from matplotlib import pyplot as plt  # noqa: PLC0415 - after the backend was chosen

    figure, axes = plt.subplots(figsize=(8, 5))
    for name, points in curves.items():
        x, y = [100 * point.share for point in points], [point.mean_ssim for point in points]
        (line,) = axes.plot(x, y, marker="o", ms=4, label=name)
        for point in points[::2]:
            position = (100 * point.share, point.mean_ssim)
            axes.annotate(str(point.quality), position, fontsize=7, color=line.get_color(), va="bottom")
    axes.axhline(0.955, color="grey", lw=0.8, ls=":")
    axes.axvline(10, color="grey", lw=0.8, ls=":")
    axes.set(xlabel="bytes, % of the source PNG", ylabel="mean SSIM (luma)", xlim=(2, 20), ylim=(0.92, 0.99))
    axes.legend(loc="lower right", fontsize=8, frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    PLOT.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(PLOT, metadata={"Date": None}, bbox_inches="tight")
    print(f"wrote {PLOT.name}")


def measure_pipeline(pngs: dict[str, bytes]) -> None:
    """Measure the pipeline with its default options, minimum similarity included."""
    ssims, bytes_after = [], 0
    with tempfile.TemporaryDirectory() as folder:
        source, output, thumbnail = (Path(folder, name) for name in ("source", "output", "thumbnail"))
        for name, content in pngs.items():
            source.write_bytes(content)
            result = process_image(ImageTask(source, output, thumbnail, ImageOptions(), ImageLimits()))
            bytes_after += result.bytes_after
            with Image.open(output) as stored:
                ssims.append(calculate_ssim(load_photographs()[name], stored))
            percent = 100 * result.bytes_after / len(content)
            print(f"  {name:20} q{result.quality} {percent:5.1f} % SSIM {ssims[-1]:.4f}")
    share = bytes_after / sum(len(content) for content in pngs.values())
    record_result("image.bytes_ratio", round(share, 4), "of PNG", "<= 0.10", share <= 0.10)
    record_result("image.ssim_mean", round(mean(ssims), 4), "SSIM", ">= 0.955", mean(ssims) >= 0.955)
    record_result("image.ssim_min", round(min(ssims), 4), "SSIM", ">= 0.94", min(ssims) >= 0.94)


if __name__ == "__main__":
    main()
