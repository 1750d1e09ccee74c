"""Commands of the audit trail."""

from __future__ import annotations

from typing import TYPE_CHECKING, TextIO

import click

from proxyctl.app import App, Group, drop_missing, pass_app
from proxyctl.client import AdminApiError, build_path, parse_cursor

if TYPE_CHECKING:
    from collections.abc import Callable

_COLUMNS = ("at", "action", "target", "outcome", "key_name", "key_id", "source", "error")


@click.group(cls=Group)
def audit() -> None:
    """List, export and verify what operators have changed."""


def _add_filters[F: Callable[..., None]](command: F) -> F:
    for option in (
        click.option("--until", metavar="TIME", help="Records before this time."),
        click.option("--since", metavar="TIME", help="Records from this time on, like 2026-11-23T00:00:00Z."),
        click.option("--target", help="What was changed, like keys/ID."),
        click.option("--tenant"),
        click.option("--key", "key_id", metavar="ID", help="The operator's key."),
        click.option("--action", help="Like key.revoke."),
    ):
        command = option(command)
    return command


@audit.command("list")
@_add_filters
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="How many at most.")
@pass_app
def list_records(app: App, /, limit: int, **filters: str | None) -> None:
    """List the changes, newest first."""
    results = app.client.list_results(build_path("audit"), drop_missing(**filters), limit=limit)
    app.show_rows(results, _COLUMNS)


@audit.command("export")
@_add_filters
@click.option(
    "-o", "--output", type=click.File("w", encoding="utf-8", lazy=True), default="-", help="A file."
)
@pass_app
def export_records(app: App, /, output: TextIO, **filters: str | None) -> None:
    """Write all records, one JSON object a line, newest first."""
    query = {**drop_missing(**filters), "format": "jsonl"}
    cursor: str | None = None
    while True:
        reply = app.client.send("GET", build_path("audit"), query={**query, **drop_missing(cursor=cursor)})
        output.write(reply.text)
        # The header is `<URL>; rel="next"`.
        cursor = parse_cursor(reply.headers.get("Link", "").partition(">")[0].lstrip("<"))
        if cursor is None:
            return


@audit.command("verify")
@pass_app
def verify(app: App) -> None:
    """Verify that no record was changed, removed or inserted. Fails if one was."""
    checked = 0
    for part in app.client.list_pages(build_path("audit", "verification"), {}):
        checked += int(part["checked"])
        if not part["valid"]:
            raise AdminApiError(
                f"the audit trail is not whole: {part['error']} (record {part['sequence']})",
                hint="compare it with an earlier export, and with the log of the admin function",
                problem=part,
            )
    app.show_fields(
        {"valid": True, "checked": checked, **{f"head_{name}": value for name, value in part["head"].items()}}
    )


def register(parent: click.Group) -> None:
    parent.add_command(audit)
