"""The file of results, tools/bench/results.json: machine, commit, and each measured value with its target."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

RESULTS_FILE = Path(__file__).with_name("results.json")


def record_result(
    name: str, value: float | None, unit: str, target: str = "", met: bool | None = None
) -> None:
    """Add or replace one result in the file, and print it. `met` is None where there is no target."""
    document = json.loads(RESULTS_FILE.read_text()) if RESULTS_FILE.exists() else {}
    result = {"name": name, "value": value, "unit": unit, "target": target, "met": met}
    others = [other for other in document.get("results", []) if other["name"] != name]
    document = {"machine": _describe_machine(), "commit": _get_commit(), "results": [*others, result]}
    RESULTS_FILE.write_text(json.dumps(document, indent=1) + "\n")
    verdict = "" if met is None else ("   met" if met else "   NOT MET")
    print(f"{name:40} {value!s:>12} {unit:10} {target}{verdict}", flush=True)


def _describe_machine() -> dict[str, Any]:
    return {
        "system": platform.system(),
        "processor": _get_processor_name(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
    }


def _get_processor_name() -> str:
    cpu_info = Path("/proc/cpuinfo")
    if not cpu_info.exists():
        return platform.processor() or platform.machine()
    names = [
        line.partition(":")[2].strip() for line in cpu_info.read_text().splitlines() if "model name" in line
    ]
    return names[0] if names else platform.machine()


def _get_commit() -> str:
    command = ["git", "rev-parse", "HEAD"]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    return finished.stdout.strip()
