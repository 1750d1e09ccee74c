"""`make logs`: the log of the functions, from the emulator's CloudWatch Logs."""

import json
import re
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta

from proxyctl.function_log import FunctionLog, LogEntry, LogFilter, format_entry, sort_entries
from tools.local.errors import LocalError
from tools.local.paths import StackFolder
from tools.local.screen import Screen
from tools.local.stack import Stack

DEFAULT_SINCE = "30m"

_POLL_INTERVAL_SECONDS = 1.0
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
# CloudWatch Logs takes no times before 1970.
_MAX_DURATION = timedelta(days=10_000)
_DURATION = re.compile(r"(\d{1,6})([smhd])")
_EMULATOR_ERROR = " ERROR [lambda] "


def show_logs(
    folder: StackFolder,
    screen: Screen,
    *,
    function: str | None = None,
    since: str = DEFAULT_SINCE,
    log_filter: LogFilter,
    follow: bool = False,
) -> None:
    """Show the entries of the last time, `since`; with `follow`, show new ones until interrupted.

    Raises `LocalError` if there is no such function, or `since` is not a duration like 30m.
    """
    stack = Stack.load(folder)
    names = stack.function_names
    if function:
        if function not in names:
            raise LocalError(f"no function {function}; the functions are {', '.join(names)}")
        names = {function: names[function]}
    start = datetime.now(UTC) - parse_duration(since)
    screen.print(f"[dim]since {start:%Y-%m-%d %H:%M:%S} UTC (SINCE={since})[/]")
    logs = [
        FunctionLog(short, f"/aws/lambda/{name}", int(start.timestamp() * 1000))
        for short, name in names.items()
    ]
    client = stack.get_client("logs")
    last_error = start
    while True:
        entries = [entry for log in logs for entry in log.read(client)]
        errors = [entry for entry in _read_start_errors(folder, names) if entry.at > last_error]
        last_error = max((entry.at for entry in errors), default=last_error)
        for entry in sort_entries([*entries, *errors]):
            if log_filter.matches(entry.text):
                screen.print(format_entry(entry))
        if not follow:
            return
        time.sleep(_POLL_INTERVAL_SECONDS)


def parse_duration(text: str) -> timedelta:
    """Return the time of a text like 45s, 30m, 2h or 1d, at most 27 years.

    Raises `LocalError` for any other text.
    """
    match = _DURATION.fullmatch(text)
    if match is None:
        raise LocalError(
            f"not a duration: {text}; use a number and a unit, for example SINCE=45s, 30m, 2h or 1d"
        )
    return min(timedelta(**{_UNITS[match[2]]: int(match[1])}), _MAX_DURATION)


def _read_start_errors(folder: StackFolder, names: Mapping[str, str]) -> Iterator[LogEntry]:
    """Read the errors of functions that could not start, which are only in the emulator's own log."""
    with folder.get_log_file("ministack").open(encoding="utf-8", errors="replace") as log:
        for line in log:
            for function, deployed_name in names.items():
                if _EMULATOR_ERROR in line and deployed_name in line:
                    local_time = datetime.strptime(line[:19], "%Y-%m-%d %H:%M:%S").astimezone()
                    message = line.partition(_EMULATOR_ERROR)[2].strip()
                    text = json.dumps({"level": "ERROR", "message": message})
                    yield LogEntry(local_time.astimezone(UTC), function, text)
