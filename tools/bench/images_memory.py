"""Measure the peak memory of the harvest function with its child for large images, and that of sharp."""

from __future__ import annotations

import importlib
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import boto3
import psutil
from PIL import Image

from replicate_proxy.images.options import ImageOptions
from replicate_proxy.images.pool import ImageWorkerPool
from tools.bench.images_corpus import load_photographs
from tools.bench.images_speed import Sharp
from tools.bench.results import record_result

MAX_MEGABYTES = 300


@dataclass(frozen=True)
class Case:
    """An image, and whether the request accepts AVIF."""

    kind: str
    size: tuple[int, int]
    accepts_avif: bool = False
    is_transparent: bool = False

    def write(self, folder: Path) -> Path:
        """Write the image file."""
        image = load_photographs()["astronaut"].resize(self.size, Image.Resampling.BICUBIC)
        if self.is_transparent:
            image.putalpha(Image.linear_gradient("L").resize(self.size))
        path = folder / f"large.{self.kind.lower()}"
        image.save(path, self.kind, **({"compress_level": 1} if self.kind == "PNG" else {"quality": 92}))
        return path


# 24 megapixels are what models generate at most, and 4.2 what is encoded as AVIF in full color at most.
CASES = {
    "24mp": (Case("PNG", (6000, 4000)), Case("JPEG", (6000, 4000))),
    "avif": (
        Case("PNG", (2048, 2048), accepts_avif=True),
        Case("PNG", (2048, 2048), accepts_avif=True, is_transparent=True),
    ),
}


def main() -> None:
    for name, cases in CASES.items():
        peak_mb = max(measure_case(case) for case in cases)
        target = f"<= {MAX_MEGABYTES}"
        record_result(f"image.peak_mb_{name}", peak_mb, "MB", target, peak_mb <= MAX_MEGABYTES)


def measure_case(case: Case) -> int:
    """Return the sum of both processes' peaks in MB."""
    with tempfile.TemporaryDirectory() as folder:
        path = case.write(Path(folder))
        # In a process of its own, whose memory holds nothing of this one.
        options = ["avif"] if case.accepts_avif else []
        command = [sys.executable, "-m", "tools.bench.images_memory", str(path), *options]
        finished = subprocess.run(command, capture_output=True, text=True, check=True)
        with Sharp() as sharp:
            measurement = sharp.measure(path)
    outcome, format_name, function_mb, child_mb = finished.stdout.split()
    of_sharp = f"{measurement['peak_mb']:.0f} MB" if measurement else "not measured"
    print(
        f"  {case.size[0] * case.size[1] / 1e6:.0f} MP {case.kind}: {outcome} as {format_name}, "
        f"function {function_mb} MB + child {child_mb} MB (sharp, two ways: {of_sharp})"
    )
    return int(function_mb) + int(child_mb)


def print_peaks(path: Path, options: ImageOptions) -> None:
    """Load what a harvest function loads, compress one image, and print outcome, format and peaks."""
    for name in ("fetch", "harvester", "file_metrics"):
        importlib.import_module(f"replicate_proxy.outputs.{name}")
    boto3.client("s3", region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x")  # noqa: S106 - none
    pool = ImageWorkerPool()
    result = pool.compress(path, path.with_name("output"), path.with_name("thumbnail"), options)
    (child,) = psutil.Process().children()
    print(result.outcome, result.format, read_peak_mb("self"), read_peak_mb(child.pid))
    pool.close()


def read_peak_mb(process: int | str) -> int:
    """Return the highest resident memory. getrusage would include the memory before exec."""
    status = Path(f"/proc/{process}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) // 1024


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print_peaks(Path(sys.argv[1]), ImageOptions(accepts_avif="avif" in sys.argv[2:]))
    else:
        main()
