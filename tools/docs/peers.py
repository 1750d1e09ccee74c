"""The tables of the comparison with peers in docs/performance.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tools.docs.measured import NOT_MEASURED, format_value
from tools.docs.sections import render_table

if TYPE_CHECKING:
    from tools.bench.stored_run import StoredRun

_WAYS = {
    "direct": "official client, straight",
    "litellm": "LiteLLM's proxy",
    "ours": "official client, through ours",
}
_ROWS = {
    "Without faults": {
        "calm.completed": "requests with a result",
        "calm.created": "predictions at Replicate, for each request",
        "calm.p50": "latency, median",
        "calm.p99": "latency, 99th percentile",
        "burst.throughput": "throughput, 8 at a time",
    },
    "With faults of creates": {
        "faults.completed": "requests with a result",
        "faults.created": "predictions at Replicate, for each request",
        "faults.paid_without_result": "failed, and paid for",
        "faults.paid_twice": "paid for more than once",
        "faults.p50": "latency of those with a result, median",
        "faults.p99": "the same, 99th percentile",
    },
    "Runs of 30 seconds": {
        "long.completed": "requests with a result",
        "long.created": "predictions at Replicate, for each request",
        "long.paid_without_result": "failed, and paid for",
    },
}


def render_peers(run: StoredRun) -> str:
    """Return a table for each condition, with a column for each way."""
    if "peers" not in run.parts:
        return f"`make bench PART=peers` is {NOT_MEASURED}."
    tables = []
    for title, rows in _ROWS.items():
        lines = [
            (text, *(_format(run, f"peers.{way}.{result}") for way in _WAYS)) for result, text in rows.items()
        ]
        tables.append(f"### {title}\n\n{render_table(('', *_WAYS.values()), lines)}")
    return "\n".join(tables)


def _format(run: StoredRun, name: str) -> str:
    """Return the value. What only counts needs no unit in a table of counts."""
    result = run.find_result(name)
    if result is None:
        return NOT_MEASURED
    if result.value is None:
        return "–"
    if result.unit == "ms":
        return f"{result.value / 1000:.2f} s"
    if result.unit in ("jobs", "duplicates", "lost results", "predictions per request"):
        return f"{result.value:g}"
    return format_value(result.value, result.unit)
