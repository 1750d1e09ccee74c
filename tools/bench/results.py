"""tools/bench/results.json: the machine, the commit and every measured value beside its target."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).with_name("results.json")


def record_result(
    name: str, value: float | None, unit: str, target: str = "", met: bool | None = None
) -> None:
    """Adds or replaces one result and prints it. `met` is None where there is no bar to meet."""
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    entry = {"name": name, "value": value, "unit": unit, "target": target, "met": met}
    others = [other for other in results.get("results", []) if other["name"] != name]
    whole = {"machine": _machine(), "commit": _commit(), "results": [*others, entry]}
    RESULTS.write_text(json.dumps(whole, indent=1) + "\n")
    shown = "" if met is None else ("   met" if met else "   NOT MET")
    print(f"{name:32} {value!s:>12} {unit:10} {target}{shown}", flush=True)


def _machine() -> dict[str, Any]:
    return {
        "system": platform.system(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
    }


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if not information.exists():
        return platform.processor() or platform.machine()
    names = [
        line.partition(":")[2].strip()
        for line in information.read_text().splitlines()
        if "model name" in line
    ]
    return names[0] if names else platform.machine()


def _commit() -> str:
    done = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False)  # noqa: S607 - git
    return done.stdout.strip()
