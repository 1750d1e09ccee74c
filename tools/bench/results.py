"""What a benchmark records: a line for each result on the screen, and in the journal of the run.

Benchmarks run in several environments and processes, so a run names its journal by an environment variable.
Without a journal, as when a module is run by itself, results are printed only. This module needs nothing but
Python.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

JOURNAL_VARIABLE = "BENCH_JOURNAL"
"""The file, of JSON lines, to which results are appended."""


def record_result(
    name: str, value: float | None, unit: str, target: str = "", met: bool | None = None
) -> None:
    """Record one result, and print it. `met` is None where there is no target."""
    _append({"name": name, "value": value, "unit": unit, "target": target, "met": met})
    verdict = "" if met is None else ("   met" if met else "   NOT MET")
    print(f"{name:40} {value!s:>12} {unit:10} {target}{verdict}", flush=True)


def record_samples(name: str, values: Sequence[float], unit: str) -> None:
    """Record the single values behind a result, for a plot of their distribution."""
    _append({"samples": name, "values": [round(value, 4) for value in values], "unit": unit})


def record_picture(name: str, content: Any) -> None:
    """Record JSON from which a picture is drawn; of several repeats the last one counts."""
    _append({"picture": name, "content": content})


def _append(line: dict[str, Any]) -> None:
    if journal := os.environ.get(JOURNAL_VARIABLE):
        with Path(journal).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
