"""Write the tables of docs/costs.md that hold measured counts, from the stored run of the benchmarks.

.venv/bin/python -m tools.docs.costs
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tools.bench.costs import PRICES
from tools.bench.stored_run import StoredRun
from tools.docs.measured import NOT_MEASURED, describe_part, format_value
from tools.docs.plot_data import find_growth
from tools.docs.sections import render_table, replace_sections

if TYPE_CHECKING:
    from collections.abc import Mapping

_ROOT = Path(__file__).parents[2]
PAGE = _ROOT / "docs/costs.md"
_TOTAL = "cost.per_1000_jobs"
# What is charged, and for how many of it the price is written.
_CHARGES = {
    "api": ("API Gateway (REST), requests", "million"),
    "lambda": ("Lambda, requests", "million"),
    "gb_second": ("Lambda, GB-seconds", "million"),
    "dynamodb_write": ("DynamoDB, write units", "million"),
    "dynamodb_read": ("DynamoDB, read units", "million"),
    "sqs": ("SQS, requests", "million"),
    "events": ("EventBridge, events", "million"),
    "s3_put": ("S3, objects written", "million"),
    "s3_get": ("S3, objects read", "million"),
    "log_byte": ("CloudWatch Logs, bytes", "GB"),
    "trace": ("X-Ray, traces", "million"),
}
_SIZES = {"million": 1e6, "GB": 1e9}
_JOBS = 1000
_OPERATIONS = {
    "create": "create",
    "get": "get",
    "list": "list",
    "list_by_time": "list by time",
    "list_by_status": "list by a status that most have",
    "list_by_rare_status": "list by a status that none has",
    "list_by_model": "list by a model that all have",
    "list_by_metadata": "list by metadata that none has",
    "list_by_batch": "list by batch",
    "delete": "delete",
    "sweep": "pass of the sweep",
    "sweep_with_deletion": "pass of the sweep with one deletion",
}


def render_costs(run: StoredRun) -> str:
    """Return what a job takes and costs, by charge. Charges without a text have their own name."""
    counts = {name: run.find_result(f"cost.{name}") for name in PRICES}
    found = {name: count.value for name, count in counts.items() if count and count.value is not None}
    lines = [_render_charge(name, amount) for name, amount in found.items()]
    if not lines:
        return describe_part(run, "costs")
    total = run.find_result(_TOTAL)
    dollars = format_value(total.value, total.unit) if total else NOT_MEASURED
    missing = [f"`{name}`" for name in PRICES if name not in found]
    note = f"\nNot counted: {', '.join(missing)}.\n" if missing else ""
    table = render_table(
        ("what", "per job", "price", "per 1,000 jobs"), [*lines, ("**Total**", "", "", f"**{dollars}**")]
    )
    return f"{describe_part(run, 'costs')}\n\n{table}{note}"


def render_growth(run: StoredRun) -> str:
    """Return AWS requests, read units and write units of each operation by stored predictions."""
    growth = find_growth(run)
    sizes = sorted({size for counts in growth.values() for values in counts.values() for size in values})
    lines = [
        (_OPERATIONS.get(name, f"`{name}`"), *(_format_counts(counts, size) for size in sizes))
        for name, counts in growth.items()
    ]
    if not lines:
        return describe_part(run, "growth")
    header = ("request", *(f"{size:,} stored predictions" for size in sizes))
    return f"{describe_part(run, 'growth')}\n\n{render_table(header, lines)}"


def render_page(run: StoredRun, page: str) -> str:
    """Return the page with its generated sections written again."""
    return replace_sections(page, {"costs": render_costs(run), "growth": render_growth(run)})


def _render_charge(name: str, amount: float) -> tuple[str, ...]:
    text, size = _CHARGES.get(name, (f"`{name}`", "million"))
    price = PRICES[name]
    written = f"${price * _SIZES[size]:.4g} per {size}"
    return (text, f"{amount:,.10g}", written, f"${amount * price * _JOBS:.4f}")


def _format_counts(counts: Mapping[str, Mapping[int, float]], size: int) -> str:
    """Return like `2 requests, 52 read units`; what is zero is left out."""
    words = {"requests": "request", "reads": "read unit", "writes": "write unit"}
    found = {text: counts.get(name, {}).get(size) for name, text in words.items()}
    texts = [f"{value:g} {text}{'' if value == 1 else 's'}" for text, value in found.items() if value]
    return ", ".join(texts) or "none"


def main() -> int:
    """Write the page."""
    PAGE.write_text(render_page(StoredRun.load(), PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    sys.stdout.write(f"wrote {PAGE.relative_to(_ROOT)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
