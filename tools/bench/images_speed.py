"""Measure the processor time of our image compression against sharp, pyvips and plain Pillow, on one core.

Ours: hash, pipe to the child, decode, choice of quality, encode, thumbnail, placeholder; as WebP, and as AVIF
for requests that accept it. The others: hash, decode, encode as WebP at quality 80 and default effort,
thumbnail. The tools take turns. Processor time includes
child processes; on one core it is the elapsed time of an idle machine, but does not grow when the machine has
other work. Of sharp's two ways to write two outputs the faster one counts.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Self

import psutil
import pyvips
from PIL import Image

from replicate_proxy.images.options import ImageOptions
from replicate_proxy.images.pool import ImageWorkerPool
from replicate_proxy.images.task import ImageLimits, ImageOutcome
from tools.bench.images_corpus import write_square
from tools.bench.results import record_result

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType


WARM_UP_ROUNDS, ROUNDS, TABLE_ROUNDS = 2, 15, 4
PHOTOGRAPHS = ("astronaut", "retina", "china")
SHARP_FOLDER = Path(__file__).with_name("sharp")
# The two ways that sharp/measure.js measures.
SHARP_WAYS = ("clone", "raw")
IMAGES_PER_WORKER = 12
# What AVIF may cost of sharp's processor time for WebP.
MAX_AVIF_RATIO = 2


class Sharp:
    """A warm node process that runs sharp/measure.js, if node and sharp are installed."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        if (SHARP_FOLDER / "node_modules").exists():
            self._process = subprocess.Popen(
                ["node", "measure.js"],  # noqa: S607 - the node on the path
                cwd=SHARP_FOLDER,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )

    def measure(self, path: Path) -> dict[str, Any] | None:
        """Return what sharp/measure.js prints for the image, or None if sharp is missing."""
        if self._process is None or self._process.stdin is None or self._process.stdout is None:
            return None
        self._process.stdin.write(f"{path}\n")
        self._process.stdin.flush()
        measurement: dict[str, Any] = json.loads(self._process.stdout.readline())
        return measurement

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.communicate()


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with run_on_one_core():
            measure_processor_time(folder)
        measure_throughput(folder, os.cpu_count() or 1)


@contextmanager
def run_on_one_core() -> Iterator[None]:
    """Pin this process to one core, where the system can; elsewhere processor time alone is compared."""
    if sys.platform != "linux":
        yield
        return
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


def measure_processor_time(folder: Path) -> None:
    times: dict[str, list[float]] = {}
    ratios: dict[str, list[float]] = {}
    pool = ImageWorkerPool(limits=ImageLimits())
    with Sharp() as sharp:
        for name in PHOTOGRAPHS:
            path = write_square(1024, folder, name=name)
            compare_tools(path, folder, pool, sharp, WARM_UP_ROUNDS)
            means = compare_tools(path, folder, pool, sharp, ROUNDS)
            print(f"  1024² PNG {name:12} " + "  ".join(f"{tool} {ms:.0f} ms" for tool, ms in means.items()))
            for tool, ms in means.items():
                times.setdefault(tool, []).append(ms)
                ratios.setdefault(tool, []).append(means["ours"] / ms)
            if "sharp" in means:
                ratios.setdefault("avif", []).append(means["ours_avif"] / means["sharp"])
        for kind in ("PNG", "JPEG", "WEBP"):
            for edge in (512, 1024, 2048):
                path = write_square(edge, folder, kind)
                means = compare_tools(path, folder, pool, sharp, TABLE_ROUNDS)
                columns = "  ".join(f"{tool} {ms:.0f}" for tool, ms in means.items())
                print(f"  {edge:4}² {kind:4} {path.stat().st_size / 1e6:5.2f} MB   ms: {columns}")
    pool.close()
    record_result("image.ms_1024_png", round(median(times["ours"]), 1), "ms")
    record_result("image.vs_pillow", round(median(ratios["pillow"]), 3), "x its time")
    record_result("image.vs_pyvips", round(median(ratios["pyvips"]), 3), "x its time")
    if "sharp" in ratios:
        worst = round(max(ratios["sharp"]), 3)
        record_result("image.vs_sharp", worst, "x its time", "<= 0.75 (worst image)", worst <= 0.75)
        worst = round(max(ratios["avif"]), 3)
        record_result(
            "image.avif.vs_sharp", worst, "x its time", "<= 2 (worst image)", worst <= MAX_AVIF_RATIO
        )
    else:
        record_result("image.vs_sharp", None, "x its time", "<= 0.75", None)
        record_result("image.avif.vs_sharp", None, "x its time", "<= 2", None)
        print("sharp was NOT measured: node or its package is missing")


def compare_tools(
    path: Path, folder: Path, pool: ImageWorkerPool, sharp: Sharp, rounds: int
) -> dict[str, float]:
    """Return the mean processor time for the image in milliseconds, by tool."""
    # Starts the child, whose processor time is read below.
    compress_with_ours(path, folder, pool)
    tools: dict[str, tuple[Callable[[], object], Callable[[], float]]] = {
        "ours": (lambda: compress_with_ours(path, folder, pool), make_child_clock()),
        "ours_avif": (
            lambda: compress_with_ours(path, folder, pool, accepts_avif=True),
            make_child_clock(),
        ),
        "pillow": (lambda: compress_with_pillow(path), time.process_time),
        "pyvips": (lambda: compress_with_pyvips(path), time.process_time),
    }
    times: dict[str, list[float]] = {}
    for _ in range(rounds):
        for tool, (compress, read_clock) in tools.items():
            start = read_clock()
            compress()
            times.setdefault(tool, []).append(1000 * (read_clock() - start))
        measurement = sharp.measure(path)
        if measurement is not None:
            for way in SHARP_WAYS:
                times.setdefault(way, []).append(measurement[way]["cpu_ms"])
    means = {tool: sum(values) / len(values) for tool, values in times.items()}
    if all(way in means for way in SHARP_WAYS):
        means["sharp"] = min(means.pop(way) for way in SHARP_WAYS)
    return means


def make_child_clock() -> Callable[[], float]:
    """Return a clock of the processor time of this process and the pool's only, running child."""
    (child,) = (child for child in psutil.Process().children() if "node" not in child.name())

    def read_seconds() -> float:
        times = child.cpu_times()
        return time.process_time() + times.user + times.system

    return read_seconds


def compress_with_ours(
    path: Path, folder: Path, pool: ImageWorkerPool, *, accepts_avif: bool = False
) -> None:
    hashlib.sha256(path.read_bytes()).hexdigest()
    options = ImageOptions(accepts_avif=accepts_avif)
    result = pool.compress(path, folder / "output", folder / "thumbnail", options)
    assert result.outcome is not ImageOutcome.UNREADABLE, result


def compress_with_pillow(path: Path) -> None:
    source = path.read_bytes()
    hashlib.sha256(source).hexdigest()
    with Image.open(io.BytesIO(source)) as image:
        image.save(io.BytesIO(), "WEBP", quality=80)
        image.thumbnail((256, 256))
        image.save(io.BytesIO(), "WEBP", quality=75)


def compress_with_pyvips(path: Path) -> None:
    source = path.read_bytes()
    hashlib.sha256(source).hexdigest()
    image = pyvips.Image.new_from_buffer(source, "").copy_memory()
    image.webpsave_buffer(Q=80)
    image.thumbnail_image(256).webpsave_buffer(Q=75)


def measure_throughput(folder: Path, cores: int) -> None:
    """Measure images a second, with one child process and with one for each core."""
    path = write_square(1024, folder)
    one_worker = measure_images_per_second(path, folder, 1)
    all_workers = measure_images_per_second(path, folder, cores)
    record_result("image.per_second_one_core", round(one_worker, 1), "images/s")
    scaling = all_workers / one_worker / cores
    record_result(
        f"image.per_second_{cores}_cores",
        round(all_workers, 1),
        "images/s",
        ">= 0.7 of linear",
        scaling >= 0.7,
    )


def measure_images_per_second(path: Path, folder: Path, workers: int) -> float:
    pool = ImageWorkerPool(workers=workers)

    def work(index: int) -> None:
        output, thumbnail = folder / f"output{index}", folder / f"thumbnail{index}"
        for _ in range(IMAGES_PER_WORKER):
            pool.compress(path, output, thumbnail, ImageOptions())

    work(0)
    threads = [threading.Thread(target=work, args=(index,)) for index in range(workers)]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - start
    pool.close()
    return workers * IMAGES_PER_WORKER / seconds


if __name__ == "__main__":
    main()
