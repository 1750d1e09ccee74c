"""What the plots of docs/performance.md show, from the stored run. It needs no library of plots."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tools.bench.stored_run import StoredRun

_IMAGES = Path(__file__).parents[2] / "docs" / "images"
LATENCY_PLOT = _IMAGES / "latency.svg"
GROWTH_PLOT = _IMAGES / "growth.svg"
# Samples of the stored run, and what the legend calls them.
_LATENCIES = {
    "submission_to_create_call": "submission to Replicate's create call",
    "completion_to_succeeded": "Replicate's completion to succeeded",
    "delivery.first_attempt": "end of a job to first delivery attempt",
}
_GROWTH = re.compile(r"growth\.(\d+)\.(\w+)\.(requests|reads|writes)")


def find_latencies(run: StoredRun) -> dict[str, list[float]]:
    """Return sorted milliseconds by the text of the legend."""
    samples = {name: entry for part in run.parts.values() for name, entry in part.samples.items()}
    return {text: sorted(samples[name]["values"]) for name, text in _LATENCIES.items() if name in samples}


def find_growth(run: StoredRun) -> dict[str, dict[str, dict[int, float]]]:
    """Return values by operation, by what is counted, and by the number of stored predictions."""
    growth: dict[str, dict[str, dict[int, float]]] = {}
    for result in run.list_results():
        match = _GROWTH.fullmatch(result.name)
        if match and result.value is not None:
            counts = growth.setdefault(match[2], {}).setdefault(match[3], {})
            counts[int(match[1])] = result.value
    return growth


def find_plots(run: StoredRun) -> Mapping[Path, Any]:
    """Return the data of each plot for which the stored run has some."""
    plots = {LATENCY_PLOT: find_latencies(run), GROWTH_PLOT: find_growth(run)}
    return {path: data for path, data in plots.items() if data}


def describe_data(data: Any) -> str:
    """Return a text that differs for other data. It is in the metadata of a plot."""
    return "data " + hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()
