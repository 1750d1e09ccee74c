"""The route of a tenant's own usage, and what it shares with the one of operators."""

from __future__ import annotations

import csv
import io
import json
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from replicate_proxy.api.http import text_response
from replicate_proxy.auth.principal import Scope
from replicate_proxy.costs.money import format_usd
from replicate_proxy.errors import parameter_error
from replicate_proxy.response_size import MAX_RESPONSE_BYTES, calculate_sent_bytes
from replicate_proxy.usage.report import MAX_DAYS, UsageGroup

if TYPE_CHECKING:
    from collections.abc import Sequence

    from replicate_proxy.api.http import Request, Response
    from replicate_proxy.api.routing import Router
    from replicate_proxy.errors import ApiError
    from replicate_proxy.ports import Clock
    from replicate_proxy.usage.model import UsageCounts
    from replicate_proxy.usage.report import UsageReader, UsageReport

USAGE_PARAMETERS = ("from", "to", "group_by", "format")
_DEFAULT_DAYS = 30
# A row has about 300 bytes, or up to three times as many with long names.
_MAX_ROWS = 15_000
_FORMATS = {"json": "application/json", "csv": "text/csv; charset=utf-8", "jsonl": "application/x-ndjson"}
_ACCEPTED_TYPES = {"text/csv": "csv", "application/x-ndjson": "jsonl", "application/jsonl": "jsonl"}


def add_usage_routes(router: Router, usage: UsageReader, clock: Clock) -> None:
    """Register the read of the caller's usage."""

    @router.get("/v1/usage", query=USAGE_PARAMETERS)
    def get_usage(request: Request) -> Response:
        tenant = request.principal.require(Scope.PREDICTIONS_READ).tenant
        first_day, last_day = parse_days(request, clock.now().date(), max_days=MAX_DAYS)
        group_by = parse_groups(request, (UsageGroup.DAY, UsageGroup.MODEL, UsageGroup.KEY))
        file_format = parse_format(request)
        return build_usage_response(usage.report(tenant, first_day, last_day, group_by), file_format)


def parse_days(request: Request, today: date, *, max_days: int) -> tuple[date, date]:
    """Return the days `from` and `to`, both included; by default the 30 days up to today.

    Raises a 400 ApiError that names the parameter.
    """
    last_day = _parse_day(request, "to") or today
    try:
        first_day = _parse_day(request, "from") or last_day - timedelta(days=_DEFAULT_DAYS - 1)
    except OverflowError:
        raise parameter_error("to", "is too early", error_type="invalid_date") from None
    if first_day > last_day:
        raise parameter_error("from", "must not be after `to`", error_type="invalid_range")
    if (last_day - first_day).days >= max_days:
        raise parameter_error("from", f"must be at most {max_days} days up to `to`", error_type="too_long")
    return first_day, last_day


def parse_groups(request: Request, allowed: Sequence[UsageGroup]) -> tuple[UsageGroup, ...]:
    """Return the groups of `group_by`, a list with commas; by default the days."""
    names = [name for name in request.query.get("group_by", "day").split(",") if name]
    if not names or any(name not in allowed for name in names):
        raise parameter_error("group_by", f"must be some of {', '.join(allowed)}, with commas")
    return tuple(dict.fromkeys(map(UsageGroup, names)))


def parse_format(request: Request) -> str:
    """Return `json`, `csv` or `jsonl`: the parameter `format`, or else the header Accept."""
    name = request.query.get("format", "")
    if name and name not in _FORMATS:
        raise parameter_error("format", f"must be one of {', '.join(_FORMATS)}")
    accepted = [part.partition(";")[0].strip() for part in request.headers.get("accept", "").split(",")]
    return name or next((_ACCEPTED_TYPES[kind] for kind in accepted if kind in _ACCEPTED_TYPES), "json")


def build_usage_response(report: UsageReport, file_format: str) -> Response:
    """Return the report. Raises a 400 ApiError if it does not fit into one response."""
    if len(report.rows) > _MAX_ROWS:
        raise _too_large(report, f"at most {_MAX_ROWS} fit")
    rows = [
        {**dict(zip(report.group_by, row.group, strict=True)), **_build_counts_view(row.counts)}
        for row in report.rows
    ]
    text = _render(report, rows, file_format)
    if calculate_sent_bytes(text) > MAX_RESPONSE_BYTES:
        raise _too_large(report, "more than one response can have")
    return text_response(200, text, _FORMATS[file_format])


def _too_large(report: UsageReport, description: str) -> ApiError:
    detail = f"gives {len(report.rows)} rows, {description}: ask for fewer groups or days"
    return parameter_error("group_by", detail, error_type="too_many_rows")


def _render(report: UsageReport, rows: Sequence[dict[str, Any]], file_format: str) -> str:
    if file_format == "csv":
        return _render_csv(report, rows)
    if file_format == "jsonl":
        return "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows)
    body = {
        "from": report.first_day.isoformat(),
        "to": report.last_day.isoformat(),
        "group_by": list(report.group_by),
        "results": rows,
        "total": _build_counts_view(report.total),
    }
    return json.dumps(body, ensure_ascii=False)


def _build_counts_view(counts: UsageCounts) -> dict[str, Any]:
    return {
        "predictions": counts.jobs,
        "succeeded": counts.succeeded,
        "failed": counts.failed,
        "canceled": counts.canceled,
        "cost_usd": format_usd(counts.cost_micro_usd),
        "tenant_billed_usd": format_usd(counts.tenant_billed_micro_usd),
        "unknown_costs": counts.unknown_costs,
        "estimated_costs": counts.estimated_costs,
    }


def _render_csv(report: UsageReport, rows: Sequence[dict[str, Any]]) -> str:
    """Return the rows below a header, as RFC 4180 describes."""
    text = io.StringIO()
    columns = [*report.group_by, *_build_counts_view(report.total)]
    writer = csv.DictWriter(text, columns)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _parse_day(request: Request, name: str) -> date | None:
    text = request.query.get(name)
    if not text:
        return None
    try:
        # Also accepts other forms of ISO 8601, such as 20261126.
        return date.fromisoformat(text)
    except ValueError:
        raise parameter_error(name, "must be a date such as 2026-11-26", error_type="invalid_date") from None
