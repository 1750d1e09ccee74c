"""The command of usage."""

from __future__ import annotations

import sys

import click

from proxyctl.app import App, Command, drop_missing, pass_app
from proxyctl.client import build_path

_COUNTS = (
    "predictions",
    "succeeded",
    "failed",
    "canceled",
    "cost_usd",
    "tenant_billed_usd",
    "unknown_costs",
    "estimated_costs",
)


@click.command("usage", cls=Command)
@click.option("--tenant", help="The tenant; without it, all.")
@click.option(
    "--from", "first_day", metavar="DATE", help="The first day (UTC), by default 29 days before the last."
)
@click.option("--to", "last_day", metavar="DATE", help="The last day (UTC), by default today.")
@click.option("--by", default="day", show_default=True, help="Some of day, model, key, tenant, with commas.")
@click.option("--csv", "file_format", flag_value="csv", help="Print CSV.")
@click.option("--jsonl", "file_format", flag_value="jsonl", help="Print one JSON object a line.")
@pass_app
def show_usage(
    app: App,
    tenant: str | None,
    first_day: str | None,
    last_day: str | None,
    by: str,
    file_format: str | None,
) -> None:
    """Show predictions and costs of a tenant, or of all."""
    query = {
        "group_by": by,
        "format": file_format or "json",
        **drop_missing(tenant=tenant, **{"from": first_day, "to": last_day}),
    }
    reply = app.client.send("GET", build_path("usage"), query=query)
    if file_format is not None:
        sys.stdout.write(reply.text)
    elif app.as_json:
        app.show_fields(reply.content)
    else:
        report = reply.content
        total = {report["group_by"][0]: "total", **report["total"]}
        app.show_rows([*report["results"], total], (*report["group_by"], *_COUNTS))


def register(parent: click.Group) -> None:
    parent.add_command(show_usage)
