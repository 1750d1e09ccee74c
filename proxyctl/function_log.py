"""Reads and formats the log of a function in CloudWatch Logs, one line for each entry."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from rich.markup import escape

# Keys that are the same in all entries of a function or of an invocation.
_HIDDEN_KEYS = {
    *("level", "message", "timestamp", "location", "service", "cold_start", "xray_trace_id"),
    *("function_name", "function_arn", "function_memory_size", "function_request_id"),
}
_HIDDEN_PREFIXES = ("START RequestId", "END RequestId", '{"_aws"')  # begin and end of invocations, metrics
_REPORT_PREFIX = "REPORT RequestId"
_COLORS = {"WARNING": "yellow", "ERROR": "red", "CRITICAL": "red", "DEBUG": "dim"}


@dataclass(frozen=True)
class LogEntry:
    """An entry of a function's log."""

    at: datetime
    function: str
    text: str


@dataclass(frozen=True)
class LogFilter:
    """Which entries to show: those that contain the job's ID, and Lambda's reports of durations if asked."""

    job_id: str | None = None
    with_reports: bool = False

    def matches(self, text: str) -> bool:
        if text.startswith(_HIDDEN_PREFIXES) or (text.startswith(_REPORT_PREFIX) and not self.with_reports):
            return False
        return self.job_id is None or self.job_id in text


@dataclass
class FunctionLog:
    """Reads the log of one function; `start_ms`, in the emulator's time, is where the next read begins.

    With `pattern`, a filter pattern of CloudWatch Logs, only entries that match it are read.

    `read_events` are the events of that millisecond which are read already; the emulator gives events no ID.
    """

    function: str
    group: str
    start_ms: int
    read_events: set[tuple[str, str]] = field(default_factory=set)
    pattern: str = ""

    def read(self, client: Any) -> list[LogEntry]:
        """Return the new entries."""
        request: dict[str, Any] = {"logGroupName": self.group, "startTime": self.start_ms}
        if self.pattern:
            request["filterPattern"] = self.pattern
        pages = client.get_paginator("filter_log_events").paginate(**request)
        try:
            events = [event for page in pages for event in page["events"]]
        except client.exceptions.ResourceNotFoundException:
            return []  # The function was not invoked yet.
        new_events = [event for event in events if not self._is_read(event)]
        if new_events:
            last_ms = max(event["timestamp"] for event in new_events)
            if last_ms > self.start_ms:
                self.start_ms, self.read_events = last_ms, set()
            self.read_events |= {_identify(event) for event in events if event["timestamp"] == last_ms}
        return list(read_entries(self.function, new_events))

    def _is_read(self, event: Mapping[str, Any]) -> bool:
        return event["timestamp"] == self.start_ms and _identify(event) in self.read_events


def read_entries(function: str, events: Iterable[Mapping[str, Any]]) -> Iterator[LogEntry]:
    """Yield the entries of CloudWatch's events.

    The emulator's times are those at which it wrote the events. A structured record has its own time; other
    lines belong to the record before them in their log stream.
    """
    last_times: dict[str, datetime] = {}
    for event in events:
        stream, text = event["logStreamName"], event["message"]
        written_at = datetime.fromtimestamp(event["timestamp"] / 1000, UTC)
        record = _parse_record(text)
        if record is not None and (at := _parse_record_time(record)) is not None:
            last_times[stream] = at
        yield LogEntry(last_times.get(stream, written_at), function, text)


def sort_entries(entries: Iterable[LogEntry]) -> list[LogEntry]:
    """Return the entries by time; entries of the same time keep their order."""
    return sorted(entries, key=lambda entry: entry.at)


def format_entry(entry: LogEntry) -> str:
    """Return the entry as rich markup: time, function, level, message, then its other keys."""
    clock = entry.at.strftime("%H:%M:%S.%f")[:-3]
    prefix = f"[dim]{clock}[/] [cyan]{entry.function:<9}[/]"
    record = _parse_record(entry.text)
    if record is None:
        return f"{prefix} [dim]{escape(entry.text.rstrip())}[/]"
    level = str(record.get("level", "INFO"))
    keys = " ".join(f"{key}={value}" for key, value in record.items() if key not in _HIDDEN_KEYS)
    message = escape(f"{level:<7} {record['message']}")
    return f"{prefix} [{_COLORS.get(level, 'default')}]{message}[/] [dim]{escape(keys)}[/]"


def _identify(event: Mapping[str, Any]) -> tuple[str, str]:
    return event["logStreamName"], event["message"]


def _parse_record(text: str) -> dict[str, Any] | None:
    """Return the structured log record, or None for any other text."""
    try:
        record = json.loads(text)
    except ValueError:
        return None
    return record if isinstance(record, dict) and "message" in record else None


def _parse_record_time(record: Mapping[str, Any]) -> datetime | None:
    """Return the time that Powertools wrote, like `2026-01-31 09:30:05,123+0000`; None for another text."""
    try:
        return datetime.strptime(str(record.get("timestamp")), "%Y-%m-%d %H:%M:%S,%f%z").astimezone(UTC)
    except ValueError:
        return None
