"""Measure the peak memory of the harvest function, child process included, for one image of 24 megapixels."""

from __future__ import annotations

import importlib
import subprocess
import sys
import tempfile
from pathlib import Path

import boto3
import psutil
from PIL import Image

from replicate_proxy.images.options import ImageOptions
from replicate_proxy.images.pool import ImageWorkerPool
from tools.bench.images_corpus import load_photographs
from tools.bench.results import record_result

SIZE = (6000, 4000)


def main() -> None:
    peaks_mb = {}
    with tempfile.TemporaryDirectory() as folder:
        image = load_photographs()["astronaut"].resize(SIZE, Image.Resampling.BICUBIC)
        for kind in ("PNG", "JPEG"):
            path = Path(folder, f"large.{kind.lower()}")
            image.save(path, kind, **({"compress_level": 1} if kind == "PNG" else {"quality": 92}))
            # In a process of its own, whose memory holds nothing of this one.
            command = [sys.executable, "-m", "tools.bench.images_memory", str(path)]
            finished = subprocess.run(command, capture_output=True, text=True, check=True)
            outcome, function_mb, child_mb = finished.stdout.split()
            print(f"  24 MP {kind}: {outcome}, function {function_mb} MB + child {child_mb} MB")
            peaks_mb[kind] = int(function_mb) + int(child_mb)
    peak_mb = max(peaks_mb.values())
    record_result("image.peak_mb_24mp", peak_mb, "MB", "<= 300", peak_mb <= 300)


def print_peaks(path: Path) -> None:
    """Load what a harvest function loads, compress one image, and print outcome and peaks."""
    for name in ("fetch", "harvester", "file_metrics"):
        importlib.import_module(f"replicate_proxy.outputs.{name}")
    boto3.client("s3", region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x")  # noqa: S106
    pool = ImageWorkerPool()
    result = pool.compress(path, path.with_name("output"), path.with_name("thumbnail"), ImageOptions())
    (child,) = psutil.Process().children()
    print(result.outcome, read_peak_mb("self"), read_peak_mb(child.pid))
    pool.close()


def read_peak_mb(process: int | str) -> int:
    """Return the highest resident memory. getrusage would include the memory before exec."""
    status = Path(f"/proc/{process}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) // 1024


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print_peaks(Path(sys.argv[1]))
    else:
        main()
