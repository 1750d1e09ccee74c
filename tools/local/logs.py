"""`make logs`: the log of the functions, from the emulator's CloudWatch Logs, one line for each entry."""

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from rich.markup import escape

from tools.local.errors import LocalError
from tools.local.paths import StackFolder
from tools.local.screen import Screen
from tools.local.stack import Stack

_POLL_INTERVAL_SECONDS = 1.0
_SHOWN_SECONDS = 1800
# Keys that are the same in all entries of a function or of an invocation.
_HIDDEN_KEYS = {
    *("level", "message", "timestamp", "location", "service", "cold_start", "xray_trace_id"),
    *("function_name", "function_arn", "function_memory_size", "function_request_id"),
}
_HIDDEN_PREFIXES = ("START RequestId", "END RequestId", '{"_aws"')  # begin and end of invocations, metrics
_COLORS = {"WARNING": "yellow", "ERROR": "red", "CRITICAL": "red", "DEBUG": "dim"}
_EMULATOR_ERROR = " ERROR [lambda] "


@dataclass(frozen=True, order=True)
class LogEntry:
    """An entry of a function's log; `time_ms` is in milliseconds since 1970."""

    time_ms: int
    function: str
    text: str


def show_logs(
    folder: StackFolder, screen: Screen, *, function: str | None = None, follow: bool = False
) -> None:
    """Show the last half hour; with `follow`, show new entries until interrupted.

    Raises `LocalError` if there is no such function.
    """
    stack = Stack.load(folder)
    names = stack.function_names
    if function:
        if function not in names:
            raise LocalError(f"no function {function}; the functions are {', '.join(names)}")
        names = {function: names[function]}
    start_times_ms = dict.fromkeys(names, int((time.time() - _SHOWN_SECONDS) * 1000))
    while True:
        entries = [
            entry for short in names for entry in _read_log(stack, short, names[short], start_times_ms[short])
        ]
        entries += [
            entry
            for entry in _read_start_errors(folder, names)
            if entry.time_ms >= start_times_ms[entry.function]
        ]
        for entry in sorted(entries):
            screen.print(format_entry(entry))
            start_times_ms[entry.function] = max(start_times_ms[entry.function], entry.time_ms + 1)
        if not follow:
            return
        time.sleep(_POLL_INTERVAL_SECONDS)


def format_entry(entry: LogEntry) -> str:
    """Return the entry as rich markup: time, function, level, message, then its other keys."""
    clock = datetime.fromtimestamp(entry.time_ms / 1000, UTC).strftime("%H:%M:%S.%f")[:-3]
    prefix = f"[dim]{clock}[/] [cyan]{entry.function:<9}[/]"
    record = _parse_record(entry.text)
    if record is None:
        return f"{prefix} [dim]{escape(entry.text.rstrip())}[/]"
    level = str(record.get("level", "INFO"))
    keys = " ".join(f"{key}={value}" for key, value in record.items() if key not in _HIDDEN_KEYS)
    message = escape(f"{level:<7} {record['message']}")
    return f"{prefix} [{_COLORS.get(level, 'default')}]{message}[/] [dim]{escape(keys)}[/]"


def _read_log(stack: Stack, function: str, deployed_name: str, start_time_ms: int) -> Iterator[LogEntry]:
    client = stack.get_client("logs")
    pages = client.get_paginator("filter_log_events").paginate(
        logGroupName=f"/aws/lambda/{deployed_name}", startTime=start_time_ms
    )
    try:
        for page in pages:
            for event in page["events"]:
                if not event["message"].startswith(_HIDDEN_PREFIXES):
                    yield LogEntry(event["timestamp"], function, event["message"])
    except client.exceptions.ResourceNotFoundException:
        return  # The function was not invoked yet.


def _read_start_errors(folder: StackFolder, names: Mapping[str, str]) -> Iterator[LogEntry]:
    """Read the errors of functions that could not start, which are only in the emulator's own log."""
    with folder.get_log_file("ministack").open(encoding="utf-8", errors="replace") as log:
        for line in log:
            for function, deployed_name in names.items():
                if _EMULATOR_ERROR in line and deployed_name in line:
                    local_time = datetime.strptime(line[:19], "%Y-%m-%d %H:%M:%S").astimezone()
                    message = line.partition(_EMULATOR_ERROR)[2].strip()
                    text = json.dumps({"level": "ERROR", "message": message})
                    yield LogEntry(int(local_time.timestamp() * 1000), function, text)


def _parse_record(text: str) -> dict[str, Any] | None:
    """Return the structured log record, or None for any other text."""
    try:
        record = json.loads(text)
    except ValueError:
        return None
    return record if isinstance(record, dict) and "message" in record else None
