"""Run the measurements of image compression: `.venv/bin/python -m tools.bench.images`.

They need scikit-image, SSIMULACRA2, pyvips and sharp, which nothing else here does, so each runs in an
environment of its own: `.venvs/bench` (requirements/bench.txt, locked by hash) and
`tools/bench/sharp/node_modules` (package-lock.json).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MODULES = ("tools.bench.images_quality", "tools.bench.images_speed", "tools.bench.images_memory")
# Whose results are comparisons with sharp alone.
MODULES_OF_SHARP = ("tools.bench.images_quality",)


def main() -> int:
    """Return 0 when every part ran. Whether targets were met is in the results."""
    _run("make", "-s", ".venvs/bench/.stamp")
    if shutil.which("npm"):
        _run("npm", "ci", "--silent", folder=ROOT / "tools" / "bench" / "sharp")
    else:
        print(f"npm is not installed: sharp is NOT measured, and {', '.join(MODULES_OF_SHARP)} not run")
    for module in MODULES:
        if module in MODULES_OF_SHARP and not shutil.which("npm"):
            continue
        _run(str(ROOT / ".venvs/bench/bin/python"), "-m", module)
    return 0


def _run(*command: str, folder: Path = ROOT) -> None:
    path = os.pathsep.join((str(ROOT), str(ROOT / "layers/common/python")))
    subprocess.run(command, cwd=folder, env={**os.environ, "PYTHONPATH": path}, check=True)


if __name__ == "__main__":
    sys.exit(main())
