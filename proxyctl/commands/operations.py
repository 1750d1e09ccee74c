"""Commands of the circuit breaker, of webhook deliveries, of the webhook secret, and the overview."""

from __future__ import annotations

from typing import Any

import click

from proxyctl.app import SEGMENT, App, Command, FiniteFloat, Group, drop_missing, pass_app
from proxyctl.client import UnavailableError, build_path, count_messages
from proxyctl.output import print_line, print_table

_ACCOUNT_COLUMNS = (
    "tenant",
    "replicate_account",
    "token",
    "token_reason",
    "breaker",
    "creates_left",
    "creates_per_minute",
    "reduced_until",
    "next_create_at",
    "webhook_secret_since",
)
_FAILURE_COLUMNS = ("completed_at", "tenant", "id", "error_class", "error")


@click.group(cls=Group)
def breaker() -> None:
    """Show, open or close the circuit breaker for calls to Replicate."""


@breaker.command("show")
@pass_app
def show_breaker(app: App) -> None:
    """Show the state of the circuit breaker."""
    app.show_fields(app.client.call("GET", build_path("breaker")))


@breaker.command("trip")
@click.option(
    "--seconds", type=FiniteFloat(), help="At most 86400; by default as long as it opens by itself."
)
@pass_app
def trip_breaker(app: App, seconds: float | None) -> None:
    """Open the circuit breaker: nothing is sent to Replicate."""
    app.show_fields(app.client.call("POST", build_path("breaker", "trip"), drop_missing(seconds=seconds)))


@breaker.command("reset")
@pass_app
def reset_breaker(app: App) -> None:
    """Close the circuit breaker, and show when the last waiting job resumes."""
    app.show_fields(app.client.call("POST", build_path("breaker", "reset"), {}))


@click.command("replicate", cls=Command)
@pass_app
def show_replicate(app: App) -> None:
    """Show the state of Replicate by account: breaker, rate limits, token, webhook secret, errors."""
    status = app.client.call("GET", build_path("replicate"))
    if app.as_json:
        app.show_fields(status)
        return
    print_table(_ACCOUNT_COLUMNS, [_build_account_row(account) for account in status["accounts"]])
    print_line("")
    print_line("last failed predictions:")
    print_table(_FAILURE_COLUMNS, status["last_failed"])


@click.group(cls=Group)
def deliveries() -> None:
    """Send webhooks again."""


@deliveries.command("redeliver")
@click.argument("tenant", type=SEGMENT)
@click.argument("delivery_id", metavar="ID", type=SEGMENT)
@pass_app
def redeliver(app: App, tenant: str, delivery_id: str) -> None:
    """Send one webhook of a tenant again."""
    path = build_path("tenants", tenant, "deliveries", delivery_id, "redeliver")
    app.show_fields(app.client.call("POST", path, {}))


@deliveries.command("redeliver-failed")
@click.argument("tenant", type=SEGMENT)
@click.option("--since", required=True, metavar="TIME", help="Like 2026-11-23T00:00:00Z.")
@pass_app
def redeliver_failed(app: App, tenant: str, since: str) -> None:
    """Send all webhooks of a tenant since a time again that failed, or wait after a failed attempt."""
    redelivered, cursor = 0, None
    while True:
        body = {"since": since, **drop_missing(cursor=cursor)}
        result = app.client.call("POST", build_path("tenants", tenant, "redeliver"), body)
        redelivered, cursor = redelivered + int(result["redelivered"]), result["cursor"]
        if cursor is None:
            break
    app.show_fields({"redelivered": redelivered})


@click.group("webhook-secret", cls=Group)
def webhook_secret() -> None:
    """Refresh the secret that verifies Replicate's webhooks."""


@webhook_secret.command("refresh")
@pass_app
def refresh_webhook_secret(app: App) -> None:
    """Fetch Replicate's webhook signing secret."""
    app.show_fields(app.client.call("POST", build_path("webhook-secret", "refresh"), {}))


@click.command("status", cls=Command)
@pass_app
def show_status(app: App) -> None:
    """Show in short what needs attention: jobs, dead letters, circuit breaker, tokens, pauses."""
    client = app.client
    status: dict[str, Any] = {
        "jobs": client.call("GET", build_path("jobs", "counts")),
        "queues": client.list_queues(),
        "breaker": client.call("GET", build_path("breaker")),
        "accounts": _read_accounts(app),
        "pauses": client.call("GET", build_path("pause"))["results"],
    }
    if app.as_json:
        app.show_fields(status)
        return
    print_line(f"unfinished    {_format_counts(status['jobs']['unfinished'])}")
    overdue = status["jobs"].get("overdue", "not known")  # an older stack does not count them
    print_line(f"overdue       {overdue or 'none'}")
    print_line(
        f"ended         {_format_counts(status['jobs']['ended'])} since {status['jobs']['ended_since']}"
    )
    dead = {queue["name"]: count_messages(queue["dead_letters"]) for queue in status["queues"]}
    print_line(f"dead letters  {_format_counts(dead)}")
    print_line(f"breaker       {status['breaker']['state']}")
    print_line(f"tokens        {_describe_tokens(status['accounts'])}")
    paused = ", ".join(
        f"{one['activity']} of {one['tenant'] or '(all)'} ({one['mode']})" for one in status["pauses"]
    )
    print_line(f"paused        {paused or 'none'}")


def _read_accounts(app: App) -> list[dict[str, Any]] | None:
    """Return the state of the accounts at Replicate, None if it cannot be read: the rest is shown anyway."""
    try:
        return list(app.client.call("GET", build_path("replicate"))["accounts"])
    except UnavailableError:
        return None


def _name_account(account: dict[str, Any]) -> str:
    return account["tenant"] or "(shared)"


def _build_account_row(account: dict[str, Any]) -> dict[str, Any]:
    """Return what the console shows of an account. What could not be read is null."""
    creates = account["creates"] or {}
    return {
        **account,
        "tenant": _name_account(account),
        "token": account["token"]["state"],
        "token_reason": account["token"]["reason"],
        "breaker": (account["breaker"] or {}).get("state"),
        "creates_left": creates.get("remaining"),
        "creates_per_minute": creates.get("limit_per_minute"),
        "reduced_until": creates.get("reduced_until"),
        "next_create_at": creates.get("retry_at"),
    }


def _describe_tokens(accounts: list[dict[str, Any]] | None) -> str:
    if accounts is None:
        return "not known"
    bad = [
        f"{account['token']['state']}: {_name_account(account)}"
        for account in accounts
        if account["token"]["state"] != "valid"
    ]
    return ", ".join(bad) or "valid"


def register(parent: click.Group) -> None:
    for command in (show_status, show_replicate, breaker, deliveries, webhook_secret):
        parent.add_command(command)


def _format_counts(counts: dict[str, int]) -> str:
    """Return the numbers that are not zero."""
    return ", ".join(f"{number} {name}" for name, number in counts.items() if number) or "none"
