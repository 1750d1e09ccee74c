"""Facts about the machine on which a benchmark runs."""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path
from typing import Any

import psutil


def describe_machine() -> dict[str, Any]:
    """Return processor, cores, memory in GB, operating system and Python with its build."""
    return {
        "processor": _get_processor_name(),
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "python_build": f"{' '.join(platform.python_build())}, {platform.python_compiler()}",
    }


def get_load() -> float:
    """Return how many processes ran or waited for a processor in the last minute, on average."""
    return round(os.getloadavg()[0], 2)


def measure_loop_seconds() -> float:
    """Return how long ten million additions take: machines whose facts are equal differ by several times."""
    started_at, total = time.process_time(), 0
    for number in range(10_000_000):
        total += number
    return round(time.process_time() - started_at, 2)


def _get_processor_name() -> str:
    cpu_info = Path("/proc/cpuinfo")
    if not cpu_info.exists():
        return platform.processor() or platform.machine()
    names = [
        line.partition(":")[2].strip() for line in cpu_info.read_text().splitlines() if "model name" in line
    ]
    return names[0] if names else platform.machine()
