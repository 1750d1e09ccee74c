"""What the functions logged, from the emulator's CloudWatch Logs, one line an entry."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from rich.markup import escape

from tools.local.errors import LocalError
from tools.local.paths import StackFolder
from tools.local.screen import Screen
from tools.local.stack import Stack

POLL_INTERVAL_SECONDS = 1.0
LOOK_BACK_SECONDS = 1800
_NOISE = {
    *("level", "message", "timestamp", "location", "service", "cold_start", "xray_trace_id"),
    *("function_name", "function_arn", "function_memory_size", "function_request_id"),
}
_COLOURS = {"WARNING": "yellow", "ERROR": "red", "CRITICAL": "red", "DEBUG": "dim"}
_CRASH = " ERROR [lambda] "
_HIDDEN = ("START RequestId", "END RequestId", '{"_aws"')  # frames of an invocation, and metrics


@dataclass(frozen=True, order=True)
class LogEntry:
    """One log entry; `moment` in milliseconds since 1970."""

    time_ms: int
    function: str
    text: str


def show_logs(
    home: StackFolder, screen: Screen, *, function: str | None = None, follow: bool = False
) -> None:
    """Prints the last half hour; with `follow` goes on until interrupted."""
    stack = Stack.load(home)
    names = stack.function_names
    if function and function not in names:
        raise LocalError(f"no function {function}; there are {', '.join(names)}")
    wanted = {function: names[function]} if function else names
    since = dict.fromkeys(wanted, int((time.time() - LOOK_BACK_SECONDS) * 1000))
    while True:
        found = [entry for short in wanted for entry in _logged(stack, short, wanted[short], since[short])]
        found += [entry for entry in _crashes(home, wanted) if entry.time_ms >= since[entry.function]]
        for entry in sorted(found):
            screen.print(format_entry(entry))
            since[entry.function] = max(since[entry.function], entry.time_ms + 1)
        if not follow:
            return
        time.sleep(POLL_INTERVAL_SECONDS)


def format_entry(entry: LogEntry) -> str:
    """One entry as rich markup: time, function, level, sentence, then the keys bound to it."""
    clock = datetime.fromtimestamp(entry.time_ms / 1000, UTC).strftime("%H:%M:%S.%f")[:-3]
    head = f"[dim]{clock}[/] [cyan]{entry.function:<9}[/]"
    record = _record(entry.text)
    if record is None:
        return f"{head} [dim]{escape(entry.text.rstrip())}[/]"
    level = str(record.get("level", "INFO"))
    keys = " ".join(f"{key}={value}" for key, value in record.items() if key not in _NOISE)
    sentence = escape(f"{level:<7} {record['message']}")
    return f"{head} [{_COLOURS.get(level, 'default')}]{sentence}[/] [dim]{escape(keys)}[/]"


def _logged(stack: Stack, short: str, name: str, since: int) -> Iterator[LogEntry]:
    client = stack.get_client("logs")
    pages = client.get_paginator("filter_log_events").paginate(
        logGroupName=f"/aws/lambda/{name}", startTime=since
    )
    try:
        for page in pages:
            for event in page["events"]:
                if not event["message"].startswith(_HIDDEN):
                    yield LogEntry(event["timestamp"], short, event["message"])
    except client.exceptions.ResourceNotFoundException:
        return  # Not called yet.


def _crashes(home: StackFolder, names: dict[str, str]) -> Iterator[LogEntry]:
    """What the emulator says of functions that did not even start; it keeps that to its own log."""
    with home.get_log_file("ministack").open(encoding="utf-8", errors="replace") as log:
        for text in log:
            for short, name in names.items():
                if _CRASH in text and name in text:
                    local_time = datetime.strptime(text[:19], "%Y-%m-%d %H:%M:%S").astimezone()
                    message = json.dumps({"level": "ERROR", "message": text.partition(_CRASH)[2].strip()})
                    yield LogEntry(int(local_time.timestamp() * 1000), short, message)


def _record(text: str) -> dict[str, Any] | None:
    try:
        record = json.loads(text)
    except ValueError:
        return None
    return record if isinstance(record, dict) and "message" in record else None
