"""Measure bytes, SSIMULACRA2 and SSIM of each encoder, of sharp, and of our image step as it ships.

Pictures have at most 384 × 384 pixels (see `images_corpus`). Times are processor time of encoding; for sharp
and our step they include decoding a PNG, and for our step also thumbnail, placeholder and the choice of
quality. Writes the plot and prints the tables of docs/images.md.
"""

from __future__ import annotations

import io
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from replicate_proxy.images.options import ImageOptions
from replicate_proxy.images.pipeline import process_image
from replicate_proxy.images.task import ImageLimits, ImageTask
from tools.bench.images_corpus import PHOTOGRAPH, load_measured_pictures, load_photographs
from tools.bench.images_curves import Point, geometric_mean, interpolate_bytes, reaches
from tools.bench.images_plot import write_plot
from tools.bench.images_scoring import encode_png, score_all
from tools.bench.images_sharp import DEFAULT_QUALITY, SharpEncoder
from tools.bench.results import record_result

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tools.bench.images_corpus import Picture


SHARP = "sharp: WebP, method 4"
SHARP_QUALITIES = (60, 70, DEFAULT_QUALITY, 88, 95, 100)
# No stored image may have a lower SSIMULACRA2 score. The shipped minimum of the estimate, 65, is higher by
# its error.
MIN_SCORE = 60.0
MAX_BYTES_RATIO = 0.85
GROUPS = ("photographs", "generated pictures")


@dataclass(frozen=True)
class Encoder:
    """A format with Pillow's options, and the qualities to measure."""

    kind: str
    options: Mapping[str, Any]
    qualities: tuple[int, ...]


_AVIF = {"speed": 9, "max_threads": 1}
_FULL_COLOR = {"subsampling": "4:4:4"}
ENCODERS = {
    "WebP, method 2 (ours)": Encoder("WEBP", {"method": 2}, (60, 72, 80, 88, 95)),
    "AVIF, speed 9, 4:4:4 (ours)": Encoder("AVIF", _AVIF | _FULL_COLOR, (35, 45, 55, 63, 75)),
    "AVIF, speed 9, 4:2:0": Encoder("AVIF", _AVIF, (45, 63)),
    "AVIF, speed 6, 4:4:4": Encoder("AVIF", _AVIF | _FULL_COLOR | {"speed": 6}, (35, 50)),
    "JPEG (ours)": Encoder("JPEG", {}, (60, 72, 85)),
}
SHIPPED = {
    "our step, AVIF accepted": ImageOptions(accepts_avif=True),
    "our step": ImageOptions(),
}
SUFFIXES = ("avif", "webp")


@dataclass(frozen=True)
class Encoded:
    """A picture as one tool encoded it at one quality."""

    tool: str
    picture: Picture
    quality: int | None
    content: bytes
    milliseconds: float


# Tool, picture, points.
type Curves = dict[str, dict[str, list[Point]]]


def main() -> None:
    pictures = load_measured_pictures()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        encoded = [
            *encode_with_sharp(pictures, folder),
            *encode_with_pillow(pictures),
            *encode_with_pipeline(pictures, folder),
        ]
        check_photographs(folder)
    scores = score_all([(item.picture.image, item.content) for item in encoded])
    curves: Curves = {}
    for item, score in zip(encoded, scores, strict=True):
        point = Point(item.quality, len(item.content), score, item.milliseconds)
        curves.setdefault(item.tool, {}).setdefault(item.picture.name, []).append(point)
    print_encoders(pictures, curves)
    print_kinds(pictures, curves)
    write_plot(pictures, {tool: curves[tool] for tool in (SHARP, *ENCODERS)})
    record_shipped(pictures, curves)


def encode_with_sharp(pictures: Sequence[Picture], folder: Path) -> list[Encoded]:
    with SharpEncoder(folder) as sharp:
        sharp.encode(pictures[0].image, DEFAULT_QUALITY)  # its first image costs more
        return [
            Encoded(SHARP, picture, quality, *sharp.encode(picture.image, quality))
            for picture in pictures
            for quality in SHARP_QUALITIES
        ]


def encode_with_pillow(pictures: Sequence[Picture]) -> list[Encoded]:
    encoded = []
    for tool, encoder in ENCODERS.items():
        for picture in pictures:
            if encoder.kind == "JPEG" and picture.image.mode == "RGBA":
                continue
            for quality in encoder.qualities:
                buffer, start = io.BytesIO(), time.process_time()
                picture.image.save(buffer, encoder.kind, quality=quality, **encoder.options)
                milliseconds = 1000 * (time.process_time() - start)
                encoded.append(Encoded(tool, picture, quality, buffer.getvalue(), milliseconds))
    return encoded


def encode_with_pipeline(pictures: Sequence[Picture], folder: Path) -> list[Encoded]:
    """Run our image step on the PNG of each picture. What it does not compress is measured as its PNG."""
    encoded = []
    for tool, options in SHIPPED.items():
        for picture in pictures:
            task = _build_task(folder, encode_png(picture.image), options)
            start = time.process_time()
            result = process_image(task)
            milliseconds = 1000 * (time.process_time() - start)
            content = (task.output if result.sha256 else task.source).read_bytes()
            encoded.append(Encoded(tool, picture, result.quality, content, milliseconds))
    return encoded


def _build_task(folder: Path, content: bytes, options: ImageOptions) -> ImageTask:
    source = folder / "source"
    source.write_bytes(content)
    return ImageTask(source, folder / "output", folder / "thumbnail", options, ImageLimits())


def print_encoders(pictures: Sequence[Picture], curves: Curves) -> None:
    """Print each tool at each quality, as means over photographs and over generated pictures."""
    png_bytes = {picture.name: len(encode_png(picture.image)) for picture in pictures}
    print("| encoder | quality | pictures | bytes, % of PNG | SSIMULACRA2 | lowest | SSIM | ms |")
    print("|---|---|---|---|---|---|---|---|")
    for tool, by_picture in curves.items():
        for index in range(max(len(points) for points in by_picture.values())):
            for group, members in group_pictures(pictures).items():
                measured = [picture for picture in members if picture.name in by_picture]
                points = [by_picture[picture.name][index] for picture in measured]
                share = sum(point.bytes for point in points) / sum(
                    png_bytes[picture.name] for picture in measured
                )
                scores = [point.score.ssimulacra2 for point in points]
                quality = points[0].quality if tool not in SHIPPED else "chosen"
                print(
                    f"| {tool} | {quality} | {group} | {100 * share:.1f} | {fmean(scores):.1f} "
                    f"| {min(scores):.1f} | {fmean(point.score.ssim for point in points):.4f} "
                    f"| {fmean(point.milliseconds for point in points):.0f} |"
                )
    print("\n| encoder | bytes at the score of sharp's default: photographs | generated pictures |")
    print("|---|---|---|")
    for tool in ENCODERS:
        cells = [describe_ratio(curves, tool, members) for members in group_pictures(pictures).values()]
        print(f"| {tool} | {' | '.join(cells)} |")


def describe_ratio(curves: Curves, tool: str, pictures: Sequence[Picture]) -> str:
    """Return the mean ratio of bytes, and how many pictures do not reach the score at any quality."""
    ratios, missed = [], 0
    for picture in pictures:
        default = find_default(curves, picture)
        points = curves[tool].get(picture.name, [])
        if reaches(points, default.score.ssimulacra2):
            ratios.append(interpolate_bytes(points, default.score.ssimulacra2) / default.bytes)
        else:
            missed += 1
    return f"{geometric_mean(ratios):.2f}" + (f" ({missed} do not reach it)" if missed else "")


def find_default(curves: Curves, picture: Picture) -> Point:
    """Return what sharp makes of the picture by default."""
    return next(point for point in curves[SHARP][picture.name] if point.quality == DEFAULT_QUALITY)


def compare_shipped(curves: Curves, tool: str, pictures: Sequence[Picture]) -> float:
    """Return the bytes of our step compared with those that sharp needs for the same score.

    Where sharp reaches it at no quality, as with colored text, its largest file counts.
    """
    ratios = []
    for picture in pictures:
        (point,) = curves[tool][picture.name]
        ratios.append(point.bytes / interpolate_bytes(curves[SHARP][picture.name], point.score.ssimulacra2))
    return geometric_mean(ratios)


def print_kinds(pictures: Sequence[Picture], curves: Curves) -> None:
    """Print our step for each kind of picture beside sharp's default."""
    columns = " | ".join(f"{tool}: bytes | score | equal" for tool in SHIPPED)
    print(f"\n| kind | sharp: bytes | score | {columns} |")
    print("|---" * (3 + 3 * len(SHIPPED)) + "|")
    for kind in dict.fromkeys(picture.kind for picture in pictures):
        members = [picture for picture in pictures if picture.kind == kind]
        cells = describe_points([find_default(curves, picture) for picture in members])
        for tool in SHIPPED:
            points = [curves[tool][picture.name][0] for picture in members]
            cells += [*describe_points(points), f"{compare_shipped(curves, tool, members):.2f}"]
        print(f"| {kind} | " + " | ".join(cells) + " |")


def describe_points(points: Sequence[Point]) -> list[str]:
    """Return the mean bytes and the mean score."""
    scores = [point.score.ssimulacra2 for point in points]
    return [f"{fmean(point.bytes for point in points):.0f}", f"{fmean(scores):.1f}"]


def record_shipped(pictures: Sequence[Picture], curves: Curves) -> None:
    """Record what is stored, where requests accept AVIF and where they do not."""
    for tool, suffix in zip(SHIPPED, SUFFIXES, strict=True):
        scores = {name: point.score.ssimulacra2 for name, (point,) in curves[tool].items()}
        worst = min(scores, key=lambda name: scores[name])
        print(f"  {tool}: lowest score is that of {worst}")
        lowest = round(scores[worst], 1)
        is_met = lowest >= MIN_SCORE
        record_result(f"image.{suffix}.score_min", lowest, "SSIMULACRA2", f">= {MIN_SCORE:.0f}", is_met)
        record_result(f"image.{suffix}.score_mean", round(fmean(scores.values()), 1), "SSIMULACRA2")
        for group, members in {"all": pictures, **group_pictures(pictures)}.items():
            name = f"image.{suffix}.equal_bytes.{group.partition(' ')[0]}"
            ratio = round(compare_shipped(curves, tool, members), 3)
            if suffix == "avif":
                target = f"<= {MAX_BYTES_RATIO}"
                record_result(name, ratio, "x sharp's", target, ratio <= MAX_BYTES_RATIO)
            else:
                record_result(name, ratio, "x sharp's")


def group_pictures(pictures: Sequence[Picture]) -> dict[str, list[Picture]]:
    """Return the photographs and the generated pictures."""
    photographs = [picture for picture in pictures if picture.kind == PHOTOGRAPH]
    generated = [picture for picture in pictures if picture.kind != PHOTOGRAPH]
    return dict(zip(GROUPS, (photographs, generated), strict=True))


def check_photographs(folder: Path) -> None:
    """Record bytes, scores and SSIM of our step over whole photographs, whose quality a sample decides."""
    photographs = list(load_photographs().values())
    for options, suffix in zip(SHIPPED.values(), SUFFIXES, strict=True):
        stored, bytes_before = [], 0
        for image in photographs:
            task = _build_task(folder, encode_png(image), options)
            bytes_before += task.source.stat().st_size
            result = process_image(task)
            stored.append((task.output if result.sha256 else task.source).read_bytes())
        share = sum(len(content) for content in stored) / bytes_before
        scores = score_all(list(zip(photographs, stored, strict=True)))
        lowest = round(min(score.ssimulacra2 for score in scores), 1)
        ssims = [score.ssim for score in scores]
        is_met = lowest >= MIN_SCORE
        record_result(f"image.{suffix}.bytes_ratio", round(share, 4), "of PNG", "<= 0.10", share <= 0.10)
        target = f">= {MIN_SCORE:.0f} (whole photographs)"
        record_result(f"image.{suffix}.score_min_whole", lowest, "SSIMULACRA2", target, is_met)
        record_result(f"image.{suffix}.ssim_mean", round(fmean(ssims), 4), "SSIM")
        record_result(f"image.{suffix}.ssim_min", round(min(ssims), 4), "SSIM")


if __name__ == "__main__":
    main()
