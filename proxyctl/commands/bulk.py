"""Commands of bulk operations: one action on all predictions that match a filter."""

from __future__ import annotations

import secrets
import sys
import time
from typing import Any

import click

from proxyctl.app import SEGMENT, App, Group, drop_missing, filter_options, pass_app
from proxyctl.client import UnavailableError, build_path
from proxyctl.output import clean

_ACTIONS = ("cancel", "redeliver", "harvest", "retry", "delete")
_COLUMNS = ("id", "action", "status", "matched", "done", "skipped", "failed", "remaining", "started_at")
_POLL_SECONDS = 2.0
_MAX_FAILED_POLLS = 5


@click.group(cls=Group)
def bulk() -> None:
    """Act on all predictions that match a filter."""


@bulk.command("start")
@click.argument("action", type=click.Choice(_ACTIONS))
@filter_options
@click.option("--yes", is_flag=True, help="Start without asking, however many match.")
@click.option("--expected-count", type=click.IntRange(0), help="Start without asking if so many match.")
@click.option("--wait", is_flag=True, help="Wait for the end, and show the progress.")
@pass_app
def start(
    app: App, /, action: str, *, yes: bool, expected_count: int | None, wait: bool, **filters: Any
) -> int:
    """Count the predictions that match, ask, and start. Without a terminal, --yes is needed."""
    path = build_path("bulk-operations")
    preview = app.client.call("POST", path, {"action": action, "filter": drop_missing(**filters)})
    count = preview["matched"]
    if expected_count is None:
        _confirm(action, preview, yes=yes)
        expected_count = count
    body = {"action": action, "filter": preview["filter"], "expected_count": expected_count}
    headers = {"Idempotency-Key": secrets.token_hex(16)}
    operation = app.client.call("POST", path, body, headers=headers)
    if wait:
        operation = _wait_for_end(app, operation)
    app.show_fields(operation)
    return _exit_code(operation) if wait else 0


@bulk.command("list")
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="How many at most.")
@pass_app
def list_operations(app: App, limit: int) -> None:
    """List bulk operations, newest first."""
    app.show_rows(app.client.list_results(build_path("bulk-operations"), {}, limit=limit), _COLUMNS)


@bulk.command("show")
@click.argument("operation_id", metavar="ID", type=SEGMENT)
@click.option("--wait", is_flag=True, help="Wait for the end, and show the progress.")
@pass_app
def show(app: App, operation_id: str, *, wait: bool) -> int:
    """Show the progress of a bulk operation, and why predictions failed or were skipped."""
    operation = app.client.call("GET", build_path("bulk-operations", operation_id))
    if wait:
        operation = _wait_for_end(app, operation)
    app.show_fields(operation)
    return _exit_code(operation) if wait else 0


@bulk.command("cancel")
@click.argument("operation_id", metavar="ID", type=SEGMENT)
@pass_app
def cancel(app: App, operation_id: str) -> None:
    """Let a bulk operation act on no further predictions."""
    app.show_fields(app.client.call("POST", build_path("bulk-operations", operation_id, "cancel"), {}))


def register(parent: click.Group) -> None:
    parent.add_command(bulk)


def _confirm(action: str, preview: dict[str, Any], *, yes: bool) -> None:
    """Ask whether to act on so many predictions. Raises Abort if not."""
    if yes or not preview["complete"] or not preview["matched"]:
        return  # The API refuses a filter that matches too much or nothing, and says why.
    chosen = ", ".join(f"{name} {value}" for name, value in preview["filter"].items())
    click.confirm(clean(f"{action} {preview['matched']} predictions ({chosen})?"), abort=True, err=True)


def _wait_for_end(app: App, operation: dict[str, Any]) -> dict[str, Any]:
    """Show the progress on stderr until the operation has ended."""
    path = build_path("bulk-operations", operation["id"])
    failed_polls = 0
    while operation["status"] == "running":
        acted_on = operation["matched"] - operation["remaining"]
        sys.stderr.write(f"{acted_on} of {operation['matched']}, {operation['failed']} failed\n")
        time.sleep(_POLL_SECONDS)
        try:
            operation = app.client.call("GET", path)
            failed_polls = 0
        except UnavailableError:
            failed_polls += 1
            if failed_polls == _MAX_FAILED_POLLS:
                raise
    return operation


def _exit_code(operation: dict[str, Any]) -> int:
    """Return 1 if the operation was canceled or stopped, or predictions failed."""
    return 0 if operation["status"] == "succeeded" and not operation["failed"] else 1
