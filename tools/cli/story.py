"""Show all that is recorded about a prediction in time order, with the lines of the logs.

export REPLICATE_PROXY_URL=https://…/prod REPLICATE_PROXY_ADMIN_KEY=rp_…
.venv/bin/python -m tools.cli.story 01kgahp2x3m4n5p6q7r8s9t0va

It requires AWS permissions to read the log groups of the stack (logs:FilterLogEvents).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from datetime import datetime
from typing import TYPE_CHECKING, Any

import boto3
from rich.markup import escape

from replicate_proxy.errors import PermanentError
from tools.cli.admin_client import AdminClient
from tools.local.logs import FunctionLog, LogEntry, LogFilter, format_entry
from tools.local.screen import Screen
from tools.terminal import run_tool

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog=".venv/bin/python -m tools.cli.story",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("id", help="the ID of the prediction")
    options = parser.parse_args(arguments)
    client = AdminClient.from_environment(os.environ)
    # CloudWatch searches for the ID itself: a group can hold gigabytes.
    pattern = json.dumps(options.id)
    for line in tell_story(client, boto3.client("logs"), options.id, pattern=pattern):
        Screen().print(line)
    return 0


def tell_story(client: AdminClient, logs: Any, job_id: str, *, pattern: str = "") -> Iterator[str]:
    """Yield the story as lines of rich markup. Raises PermanentError if there is no such prediction.

    `logs` is a boto3 client of CloudWatch Logs; `pattern` is a filter pattern for what it reads.
    """
    job = client.find_job(job_id)
    if job is None:
        raise PermanentError(f"no prediction has the ID {job_id}")
    story = client.get_story(job["tenant"], job_id)
    yield f"[bold]{job_id}[/] of {job['tenant']}: {job['status']}, {escape(str(job['model']))}"
    lines = [(_parse_time(event["at"]), _format_event(event)) for event in story["events"]]
    lines += [(entry.at, format_entry(entry)) for entry in _read_log(logs, story["logs"], job_id, pattern)]
    for _, line in sorted(lines, key=lambda pair: pair[0]):
        yield line


def _read_log(logs: Any, reference: Mapping[str, Any], job_id: str, pattern: str) -> Iterator[LogEntry]:
    start_ms = int(_parse_time(reference["since"]).timestamp() * 1000)
    log_filter = LogFilter(job_id=job_id)
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
    return datetime.fromisoformat(text)


if __name__ == "__main__":
    sys.exit(run_tool(main))
