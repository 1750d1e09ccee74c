"""Our whole way of an image against sharp's, pyvips's and plain Pillow's shorter one, on one core, turn by
turn.

Ours: hash, pipe to the child, decode, encode, thumbnail, placeholder, similarity check. The others: hash,
decode, encode at quality 80 and default effort, thumbnail. Counted is processor time, children included,
which on one core is the time it takes and does not grow when the machine has other work; of sharp's two ways
the faster one counts.
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
from replicate_proxy.images.task import ImageLimits
from tools.bench.images_corpus import square
from tools.bench.results import record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType


ROUNDS = 15
NAMES = ("astronaut", "retina", "china")
SHARP = Path(__file__).with_name("sharp")


class Sharp:
    """A warm node process; `None` answers where node or sharp is missing."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        if (SHARP / "node_modules").exists():
            self._process = subprocess.Popen(
                ["node", "measure.js"],  # noqa: S607 - the node on the path
                cwd=SHARP,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )

    def __call__(self, path: Path) -> dict[str, Any] | None:
        if self._process is None or self._process.stdin is None or self._process.stdout is None:
            return None
        self._process.stdin.write(f"{path}\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

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
        with on_one_core():
            one_core(folder)
        all_cores(folder, os.cpu_count() or 1)


@contextmanager
def on_one_core() -> Iterator[None]:
    """Where the system can't pin programs to a core, processor time is all that makes them comparable."""
    if sys.platform != "linux":
        yield
        return
    everything = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(everything)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, everything)


def one_core(folder: Path) -> None:
    times: dict[str, list[float]] = {}
    ratios: dict[str, list[float]] = {}
    pool = ImageWorkerPool(limits=ImageLimits())
    with Sharp() as sharp:
        for name in NAMES:
            path = square(1024, folder, name=name)
            measured(path, folder, pool, sharp, 2)
            means = measured(path, folder, pool, sharp, ROUNDS)
            print(f"  1024² PNG {name:12} " + "  ".join(f"{tool} {ms:.0f} ms" for tool, ms in means.items()))
            for tool, ms in means.items():
                times.setdefault(tool, []).append(ms)
                ratios.setdefault(tool, []).append(means["ours"] / ms)
        for kind in ("PNG", "JPEG", "WEBP"):
            for edge in (512, 1024, 2048):
                path = square(edge, folder, kind)
                means = measured(path, folder, pool, sharp, 4)
                shown = "  ".join(f"{tool} {ms:.0f}" for tool, ms in means.items())
                print(f"  {edge:4}² {kind:4} {path.stat().st_size / 1e6:5.2f} MB   ms: {shown}")
    pool.close()
    record("image.ms_1024_png", round(median(times["ours"]), 1), "ms")
    record("image.vs_pillow", round(median(ratios["pillow"]), 3), "x its time")
    record("image.vs_pyvips", round(median(ratios["pyvips"]), 3), "x its time")
    if "sharp" in ratios:
        worst = round(max(ratios["sharp"]), 3)
        record("image.vs_sharp", worst, "x its time", "<= 0.75 (worst picture)", worst <= 0.75)
    else:
        record("image.vs_sharp", None, "x its time", "<= 0.75", None)
        print("sharp was NOT measured: node or its package is missing")


def measured(path: Path, folder: Path, pool: ImageWorkerPool, sharp: Sharp, rounds: int) -> dict[str, float]:
    """Milliseconds of processor time an image, by tool."""
    ours(path, folder, pool)
    clocks: dict[str, tuple[Callable[[], object], Callable[[], float]]] = {
        "ours": (lambda: ours(path, folder, pool), family_clock()),
        "pillow": (lambda: pillow(path), time.process_time),
        "pyvips": (lambda: vips(path), time.process_time),
    }
    spent: dict[str, list[float]] = {}
    for _ in range(rounds):
        for tool, (work, clock) in clocks.items():
            began = clock()
            work()
            spent.setdefault(tool, []).append(1000 * (clock() - began))
        answer = sharp(path)
        if answer is not None:
            for way in ("clone", "raw"):
                spent.setdefault(way, []).append(answer[way]["cpu_ms"])
    means = {tool: sum(times) / len(times) for tool, times in spent.items()}
    if "raw" in means:
        means["sharp"] = min(means.pop("clone"), means.pop("raw"))
    return means


def family_clock() -> Callable[[], float]:
    """A clock of the processor time of this process and the pool's child, which must be running."""
    (child,) = (child for child in psutil.Process().children() if "node" not in child.name())

    def seconds() -> float:
        times = child.cpu_times()
        return time.process_time() + times.user + times.system

    return seconds


def ours(path: Path, folder: Path, pool: ImageWorkerPool) -> None:
    hashlib.sha256(path.read_bytes()).hexdigest()
    result = pool.compress(path, folder / "output", folder / "thumbnail", ImageOptions())
    assert result.outcome in {"compressed", "unmodified"}, result


def pillow(path: Path) -> None:
    """What one writes without thinking of it."""
    source = path.read_bytes()
    hashlib.sha256(source).hexdigest()
    with Image.open(io.BytesIO(source)) as image:
        image.save(io.BytesIO(), "WEBP", quality=80)
        image.thumbnail((256, 256))
        image.save(io.BytesIO(), "WEBP", quality=75)


def vips(path: Path) -> None:
    source = path.read_bytes()
    hashlib.sha256(source).hexdigest()
    image = pyvips.Image.new_from_buffer(source, "").copy_memory()
    image.webpsave_buffer(Q=80)
    image.thumbnail_image(256).webpsave_buffer(Q=75)


def all_cores(folder: Path, cores: int) -> None:
    """Images a second with one child and with as many as there are cores."""
    path = square(1024, folder)
    alone = a_second(path, folder, 1)
    together = a_second(path, folder, cores)
    record("image.per_second_one_core", round(alone, 1), "images/s")
    growth = together / alone / cores
    record(
        f"image.per_second_{cores}_cores", round(together, 1), "images/s", ">= 0.7 of linear", growth >= 0.7
    )


def a_second(path: Path, folder: Path, workers: int) -> float:
    pool = ImageWorkerPool(workers=workers)
    count = 12

    def work(index: int) -> None:
        for _ in range(count):
            pool.compress(path, folder / f"output{index}", folder / f"thumbnail{index}", ImageOptions())

    work(0)
    threads = [threading.Thread(target=work, args=(index,)) for index in range(workers)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - began
    pool.close()
    return workers * count / seconds


if __name__ == "__main__":
    main()
