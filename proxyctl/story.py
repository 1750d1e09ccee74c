"""The story of a prediction: all that is recorded about it in time order, with the lines of the logs."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

from rich.markup import escape

from proxyctl.function_log import FunctionLog, LogEntry, LogFilter, format_entry

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


def tell_story(story: Mapping[str, Any], logs: Any = None) -> Iterator[str]:
    """Yield the story that the admin API returned as lines of rich markup.

    The lines have times, and each day begins with its date: webhooks are retried for days. With `logs`, a
    boto3 client of CloudWatch Logs, the lines of the log are among them.
    """
    job = story["job"]
    yield f"[bold]{job['id']}[/] of {job['tenant']}: {job['status']}, {escape(str(job['model']))}"
    lines = [(_parse_time(event["at"]), _format_event(event)) for event in story["events"]]
    if logs is not None:
        entries = _read_log(logs, story["logs"], job["id"])
        lines += [(entry.at, format_entry(entry)) for entry in entries]
    day: date | None = None
    for at, line in sorted(lines, key=lambda pair: pair[0]):
        if at.date() != day:
            day = at.date()
            yield f"[dim]{day} UTC[/]"
        yield line


def _read_log(logs: Any, reference: Mapping[str, Any], job_id: str) -> Iterator[LogEntry]:
    start_ms = int(_parse_time(reference["since"]).timestamp() * 1000)
    log_filter = LogFilter(job_id=job_id)
    # CloudWatch searches for the ID itself: a group can hold gigabytes.
    pattern = json.dumps(job_id)
    for group in reference["log_groups"]:
        function = group.rpartition("-")[2]
        for entry in FunctionLog(function, group, start_ms, pattern=pattern).read(logs):
            if log_filter.matches(entry.text):
                yield entry


def _format_event(event: Mapping[str, Any]) -> str:
    details = " ".join(f"{name}={value}" for name, value in event["details"].items() if value is not None)
    clock = _parse_time(event["at"]).strftime("%H:%M:%S.%f")[:-3]
    title = f"{event['kind']} {event['name']}"
    return f"[dim]{clock}[/] [bold green]{'story':<9}[/] [bold]{escape(title)}[/] [dim]{escape(details)}[/]"


def _parse_time(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)
