"""Commands of budgets, of concurrency limits and of pauses."""

from __future__ import annotations

from typing import Any

import click

from proxyctl.app import SEGMENT, App, Command, Group, drop_missing, pass_app
from proxyctl.client import build_path
from proxyctl.output import print_fields, print_json, print_table

_WINDOW_COLUMNS = ("period", "limit_usd", "committed_usd", "spent_usd", "left_usd", "resets_at")


def add_budget_commands(parent: click.Group, collection: str, metavar: str) -> None:
    """Add the commands of the budgets of tenants or keys."""

    @parent.group("budget", cls=Group, help=f"Show, set or delete the budget of one of the {collection}.")
    def budget() -> None: ...

    @budget.command("show")
    @click.argument("owner", metavar=metavar, type=SEGMENT)
    @pass_app
    def show_budget(app: App, owner: str) -> None:
        """Show the limits, and what is spent and reserved."""
        _show_budget(app, app.client.call("GET", build_path(collection, owner, "budget")))

    @budget.command("set")
    @click.argument("owner", metavar=metavar, type=SEGMENT)
    @click.option("--day", metavar="USD", help="The most per day (UTC), like 5 or 0.50.")
    @click.option("--month", metavar="USD", help="The most per month (UTC).")
    @pass_app
    def set_budget(app: App, owner: str, day: str | None, month: str | None) -> None:
        """Set the budget, in place of the present one."""
        body = drop_missing(day_usd=day, month_usd=month)
        if not body:
            raise click.UsageError("set --day, --month or both")
        _show_budget(app, app.client.call("PUT", build_path(collection, owner, "budget"), body))

    @budget.command("delete")
    @click.argument("owner", metavar=metavar, type=SEGMENT)
    @pass_app
    def delete_budget(app: App, owner: str) -> None:
        """Delete the budget: nothing limits the costs."""
        app.client.call("DELETE", build_path(collection, owner, "budget"))
        app.show_done("deleted", f"{collection}/{owner}/budget")


def add_concurrency_commands(parent: click.Group) -> None:
    """Add the commands of the concurrency limit of a tenant."""

    @parent.group("concurrency", cls=Group)
    def concurrency() -> None:
        """Show, set or delete how many predictions of a tenant run at a time."""

    @concurrency.command("show")
    @click.argument("tenant", type=SEGMENT)
    @pass_app
    def show_limit(app: App, tenant: str) -> None:
        """Show the limit with its slots and line."""
        app.show_fields(app.client.call("GET", build_path("tenants", tenant, "concurrency")))

    @concurrency.command("set")
    @click.argument("tenant", type=SEGMENT)
    @click.argument("max_concurrency", type=int)
    @pass_app
    def set_limit(app: App, tenant: str, max_concurrency: int) -> None:
        """Set the limit; it applies to waiting predictions at once."""
        body = {"max_concurrency": max_concurrency}
        app.show_fields(app.client.call("PUT", build_path("tenants", tenant, "concurrency"), body))

    @concurrency.command("delete")
    @click.argument("tenant", type=SEGMENT)
    @pass_app
    def delete_limit(app: App, tenant: str) -> None:
        """Delete the limit."""
        app.client.call("DELETE", build_path("tenants", tenant, "concurrency"))
        app.show_done("deleted", f"tenants/{tenant}/concurrency")


@click.command("concurrency", cls=Command)
@pass_app
def list_concurrency(app: App) -> None:
    """List the concurrency limits that predictions wait for."""
    results = app.client.call("GET", build_path("concurrency"))["results"]
    app.show_rows(results, ("name", "max_concurrency", "in_use", "waiting"))


@click.command("pauses", cls=Command)
@pass_app
def list_pauses(app: App) -> None:
    """List what is paused."""
    _show_pauses(app, app.client.call("GET", build_path("pause")))


_activity_option = click.option(
    "--deliveries",
    "activity",
    flag_value="deliveries",
    default="predictions",
    help="The webhooks to applications instead of the predictions.",
)


@click.command("pause", cls=Command)
@click.argument("tenant", required=False)
@click.option("--all", "is_all", is_flag=True, help="Pause all tenants.")
@click.option(
    "--mode",
    type=click.Choice(["hold", "refuse"]),
    default="hold",
    show_default=True,
    help="Whether new predictions wait or get a 503.",
)
@_activity_option
@click.option("--reason", help="Why, for other operators.")
@pass_app
def pause(app: App, tenant: str | None, is_all: bool, mode: str, activity: str, reason: str | None) -> None:
    """Pause a tenant, or all: nothing is sent to Replicate, or with --deliveries to applications."""
    body = {
        "activity": activity,
        "tenant": _choose_tenant(tenant, is_all=is_all),
        "mode": mode,
        **drop_missing(reason=reason),
    }
    _show_pauses(app, app.client.call("POST", build_path("pause"), body))


@click.command("resume", cls=Command)
@click.argument("tenant", required=False)
@click.option("--all", "is_all", is_flag=True, help="End the pause of all tenants.")
@_activity_option
@pass_app
def resume(app: App, tenant: str | None, is_all: bool, activity: str) -> None:
    """Resume a tenant, or end the pause of all."""
    body = {"activity": activity, "tenant": _choose_tenant(tenant, is_all=is_all)}
    _show_pauses(app, app.client.call("POST", build_path("resume"), body))


def register(parent: click.Group) -> None:
    for command in (list_concurrency, list_pauses, pause, resume):
        parent.add_command(command)


def _choose_tenant(tenant: str | None, *, is_all: bool) -> str | None:
    """Return the tenant, None for all. Both must be explicit: all is too much for a forgotten name."""
    if (tenant is None) == (not is_all):
        raise click.UsageError("name a tenant, or use --all")
    return tenant


def _show_pauses(app: App, content: dict[str, Any]) -> None:
    results = content["results"]
    if not app.as_json:
        results = [{**one, "tenant": one["tenant"] or "(all)"} for one in results]
    app.show_rows(results, ("activity", "tenant", "mode", "since", "reason"))


def _show_budget(app: App, budget: dict[str, Any]) -> None:
    if app.as_json:
        print_json(budget)
        return
    print_fields({name: value for name, value in budget.items() if name != "windows"})
    if budget["windows"]:
        print_table(_WINDOW_COLUMNS, budget["windows"])
