"""Commands of replays of archived events."""

from __future__ import annotations

import click

from proxyctl.app import SEGMENT, App, Group, pass_app
from proxyctl.client import build_path

_COLUMNS = ("id", "state", "from", "to", "replayed_until", "started_at", "ended_at")


@click.group(cls=Group)
def replays() -> None:
    """Replay archived events: list, start, show and cancel replays."""


@replays.command("list")
@pass_app
def list_replays(app: App) -> None:
    """List the replays of the last 90 days."""
    app.show_rows(app.client.call("GET", build_path("replays"))["results"], _COLUMNS)


@replays.command("start")
@click.option("--from", "start", required=True, metavar="TIME", help="Like 2026-11-23T00:00:00Z.")
@click.option("--to", "end", required=True, metavar="TIME", help="Like 2026-11-23T06:00:00Z.")
@click.option("--rule", multiple=True, help="harvest or track; both without it. Repeatable.")
@pass_app
def start_replay(app: App, start: str, end: str, rule: tuple[str, ...]) -> None:
    """Deliver the events of a period once more."""
    body = {"from": start, "to": end, "rules": list(rule)}
    app.show_fields(app.client.call("POST", build_path("replays"), body))


@replays.command("show")
@click.argument("replay_id", metavar="ID", type=SEGMENT)
@pass_app
def show_replay(app: App, replay_id: str) -> None:
    """Show how far a replay has come."""
    app.show_fields(app.client.call("GET", build_path("replays", replay_id)))


@replays.command("cancel")
@click.argument("replay_id", metavar="ID", type=SEGMENT)
@pass_app
def cancel_replay(app: App, replay_id: str) -> None:
    """Stop a replay; what it has delivered stays delivered."""
    app.show_fields(app.client.call("POST", build_path("replays", replay_id, "cancel"), {}))


def register(parent: click.Group) -> None:
    parent.add_command(replays)
