"""What the functions logged, from the emulator's CloudWatch Logs, one line an entry."""

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from local.errors import LocalError
from local.home import Home
from local.screen import Screen
from local.stack import Stack
from local.status import function_names

POLL_SECONDS = 1.0
LOOK_BACK_MINUTES = 30
_NOISE = {
    *("level", "message", "timestamp", "location", "service", "cold_start", "xray_trace_id"),
    *("function_name", "function_arn", "function_memory_size", "function_request_id"),
}
_COLOURS = {"WARNING": "yellow", "ERROR": "red", "CRITICAL": "red", "DEBUG": "dim"}


def logs(home: Home, screen: Screen, *, function: str | None = None, follow: bool = False) -> None:
    """Prints the last half hour; with `follow` goes on until interrupted."""
    stack = Stack.load(home)
    names = function_names(stack)
    if function and function not in names:
        raise LocalError(f"no function {function}; there are {', '.join(names)}")
    wanted = {function: names[function]} if function else names
    since = int((time.time() - LOOK_BACK_MINUTES * 60) * 1000)
    while True:
        rows = sorted(_entries(stack, wanted, since), key=lambda row: row[0])
        for moment, short, text in rows:
            screen.console.print(line(moment, short, text), soft_wrap=True)
            since = max(since, moment + 1)
        if not follow:
            return
        time.sleep(POLL_SECONDS)


def _entries(stack: Stack, names: dict[str, str], since: int) -> Iterator[tuple[int, str, str]]:
    """(milliseconds, function, text) of every entry since then."""
    client = stack.aws("logs")
    for short, name in names.items():
        pages = client.get_paginator("filter_log_events").paginate(
            logGroupName=f"/aws/lambda/{name}", startTime=since
        )
        try:
            for page in pages:
                yield from ((event["timestamp"], short, event["message"]) for event in page["events"])
        except client.exceptions.ResourceNotFoundException:
            continue  # Not called yet.


def line(moment: int, function: str, text: str) -> str:
    """One entry as rich markup: time, function, level, sentence, then the keys bound to it."""
    clock = datetime.fromtimestamp(moment / 1000, UTC).strftime("%H:%M:%S.%f")[:-3]
    head = f"[dim]{clock}[/] [cyan]{function:<9}[/]"
    entry = _parse(text)
    if entry is None:
        return f"{head} [dim]{_escape(text.rstrip())}[/]"
    level = str(entry.get("level", "INFO"))
    keys = " ".join(f"{key}={value}" for key, value in entry.items() if key not in _NOISE)
    colour = _COLOURS.get(level, "default")
    return f"{head} [{colour}]{level:<7} {_escape(str(entry.get('message', '')))}[/] [dim]{_escape(keys)}[/]"


def _parse(text: str) -> dict[str, Any] | None:
    try:
        entry = json.loads(text)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) and "message" in entry else None


def _escape(text: str) -> str:
    return text.replace("[", r"\[")
