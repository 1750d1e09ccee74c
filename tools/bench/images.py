"""`python -m tools.bench.images`: makes its own environments, measures, writes results and plots.

The measurements need scikit-image, pyvips and sharp, which nothing else here does: they live in
`.venvs/bench` (requirements/bench.txt, locked by hash) and `bench/sharp/node_modules` (package-lock.json).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("bench.images_front", "bench.images_speed", "bench.images_memory")


def main() -> int:
    """Exit code 0 when every part ran; whether a bar was met is in the results."""
    _run("make", "-s", ".venvs/bench/.stamp")
    if shutil.which("npm"):
        _run("npm", "ci", "--silent", folder=ROOT / "bench" / "sharp")
    else:
        print("node is not installed: sharp is NOT measured")
    for part in PARTS:
        _run(str(ROOT / ".venvs/bench/bin/python"), "-m", part)
    return 0


def _run(*command: str, folder: Path = ROOT) -> None:
    path = os.pathsep.join((str(ROOT), str(ROOT / "layers/common/python")))
    subprocess.run(command, cwd=folder, env={**os.environ, "PYTHONPATH": path}, check=True)


if __name__ == "__main__":
    sys.exit(main())
