"""Commands of the queues and their dead letters."""

from __future__ import annotations

from typing import Any

import click

from proxyctl.app import SEGMENT, App, Command, FiniteFloat, Group, drop_missing, pass_app
from proxyctl.client import AdminApiError, build_path
from proxyctl.output import print_line, print_table
from proxyctl.redrive import Redriver, RedriveResult

_QUEUE_COLUMNS = ("queue", "of", "waiting", "in_flight", "delayed", "oldest_seconds", "redrive")
_COLUMNS = ("message_id", "tenant", "job_id", "sent_at", "receive_count", "error", "bytes")


@click.command("queues", cls=Command)
@pass_app
def list_queues(app: App) -> None:
    """List the queues with their messages, and their dead letters, with the age of the oldest one."""
    queues = app.client.list_queues()
    if app.as_json:
        app.show_rows(queues, ())
        return
    print_table(_QUEUE_COLUMNS, [row for queue in queues for row in _build_rows(queue)])
    for reason in sorted({state["oldest_unknown_because"] for state in _list_states(queues)} - {None}):
        print_line(f"The age of the oldest message is not known: {reason}")


@click.group("dead-letters", cls=Group)
def dead_letters() -> None:
    """Peek at dead letters, redrive or discard them."""


def _add_filters[F](command: F) -> F:
    for option in (
        click.option("--message", multiple=True, help="Only this message; repeatable."),
        click.option("--job", help="Only messages of this prediction."),
        click.option("--tenant", help="Only messages of this tenant."),
    ):
        command = option(command)  # type: ignore[type-var] # click's decorators take functions only
    return command


@dead_letters.command("peek")
@click.argument("queue", type=SEGMENT)
@click.option("--limit", type=click.IntRange(1, 100), default=10, show_default=True)
@click.option("--bodies", is_flag=True, help="Show bodies, which can contain outputs.")
@pass_app
def peek(app: App, queue: str, limit: int, bodies: bool) -> None:
    """Show messages of a queue; they stay in it."""
    query = {"limit": str(limit), "body": str(bodies).lower()}
    results = app.client.call("GET", build_path("queues", queue, "dead-letters"), query=query)["results"]
    app.show_rows(results, (*_COLUMNS, "body") if bodies else _COLUMNS)


@dead_letters.command("redrive")
@click.argument("queue", type=SEGMENT)
@_add_filters
@click.option("--rate", type=FiniteFloat(), default=20.0, show_default=True, help="Messages per second.")
@pass_app
def redrive(app: App, /, queue: str, rate: float, **filters: Any) -> None:
    """Send the messages of a queue, or of `all`, to where they came from."""
    redriver = Redriver(app.client)
    fields = _build_filter(**filters)
    if queue == "all":
        results = redriver.redrive_all(rate_per_second=rate, **fields)
    else:
        results = {queue: redriver.redrive_queue(queue, rate_per_second=rate, **fields)}
    _show_results(app, results, "redriven")


@dead_letters.command("discard")
@click.argument("queue", type=SEGMENT)
@_add_filters
@pass_app
def discard(app: App, /, queue: str, **filters: Any) -> None:
    """Delete the messages of a queue that match a filter, which is required."""
    fields = _build_filter(**filters)
    if not fields:
        raise click.UsageError("a filter is required: --tenant, --job or --message")
    _show_results(app, {queue: Redriver(app.client).discard(queue, **fields)}, "discarded")


def register(parent: click.Group) -> None:
    parent.add_command(list_queues)
    parent.add_command(dead_letters)


def _build_rows(queue: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the row of the queue, if there is one, and that of its dead letters."""
    dead_letters = {
        "queue": queue["name"],
        "of": "dead letters",
        **queue["dead_letters"],
        "redrive": queue["can_redrive"],
    }
    if queue["messages"] is None:
        return [dead_letters]
    return [{"queue": queue["name"], "of": "messages", **queue["messages"]}, dead_letters]


def _list_states(queues: list[dict[str, Any]]) -> list[dict[str, Any]]:
    states = [queue[kind] for queue in queues for kind in ("messages", "dead_letters")]
    return [state for state in states if state is not None]


def _build_filter(*, tenant: str | None, job: str | None, message: tuple[str, ...]) -> dict[str, Any]:
    return drop_missing(tenant=tenant, job_id=job, message_ids=list(message) or None)


def _show_results(app: App, results: dict[str, RedriveResult], action: str) -> None:
    """Print how many messages were handled. Raises AdminApiError if some may be left that should be, too."""
    counts = {queue: result.handled for queue, result in results.items()}
    if app.as_json:
        app.show_fields(counts)
    else:
        for queue, count in counts.items():
            print_line(f"{queue}: {count} {action}")
    left = [_describe_left(queue, result) for queue, result in results.items() if not result.is_complete]
    if left:
        raise AdminApiError(
            "; ".join(left), hint="look at them with `proxyctl dead-letters peek`, or repeat the command"
        )


def _describe_left(queue: str, result: RedriveResult) -> str:
    if result.done:
        return f"{queue}: {result.skipped} messages could not be redriven and are left"
    return (
        f"{queue}: the end of the queue was not reached; of the messages before it,"
        f" {result.skipped} were skipped and are left"
    )
