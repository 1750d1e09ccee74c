"""Peak memory of the harvest function, its own process and the child together, for one image of 24
megapixels.
"""

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
from tools.bench.images_corpus import photographs
from tools.bench.results import record

SIZE = (6000, 4000)


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        image = photographs()["astronaut"].resize(SIZE, Image.Resampling.BICUBIC)
        peaks = {}
        for kind in ("PNG", "JPEG"):
            path = folder / f"large.{kind.lower()}"
            image.save(path, kind, **({"compress_level": 1} if kind == "PNG" else {"quality": 92}))
            command = [sys.executable, "-m", "bench.images_memory", str(path)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            outcome, own, child = done.stdout.split()
            print(f"  24 MP {kind}: {outcome}, function {own} MB + child {child} MB")
            peaks[kind] = int(own) + int(child)
        peak = max(peaks.values())
        record("image.peak_mb_24mp", peak, "MB", "<= 300", peak <= 300)


def one(path: Path) -> None:
    """In a process of its own: what a harvest function has loaded, then one image."""
    for name in ("fetch", "harvester", "telling"):
        importlib.import_module(f"replicate_proxy.outputs.{name}")
    boto3.client("s3", region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x")  # noqa: S106
    pool = ImageWorkerPool()
    result = pool.compress(path, path.with_name("output"), path.with_name("thumbnail"), ImageOptions())
    (child,) = psutil.Process().children()
    print(result.outcome, peak("self"), peak(child.pid))
    pool.close()


def peak(process: int | str) -> int:
    """Highest resident memory in MB. getrusage would count what the process was before it became this
    program.
    """
    status = Path(f"/proc/{process}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) // 1024


if __name__ == "__main__":
    if len(sys.argv) > 1:
        one(Path(sys.argv[1]))
    else:
        main()
