"""Commands of tenants' settings."""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from proxyctl.app import SEGMENT, App, Group, build_limits, drop_missing, limit_options, pass_app
from proxyctl.client import build_path
from proxyctl.commands.limits import add_budget_commands, add_concurrency_commands

_TOKEN_VARIABLE = "TENANT_REPLICATE_TOKEN"  # noqa: S105 - the name of a variable


@click.group(cls=Group)
def tenants() -> None:
    """Settings, budgets and concurrency limits of tenants; erase a tenant."""


@tenants.command("list")
@pass_app
def list_tenants(app: App) -> None:
    """List tenants that have settings."""
    columns = ("name", "display_name", "images", "private_outputs", "retention", "token_limits", "updated_at")
    app.show_rows(app.client.call("GET", build_path("tenants"))["results"], columns)


@tenants.command("show")
@click.argument("name", type=SEGMENT)
@pass_app
def show_tenant(app: App, name: str) -> None:
    """Show a tenant's settings."""
    app.show_fields(app.client.call("GET", build_path("tenants", name)))


@tenants.command("put")
@click.argument("name", type=SEGMENT)
@click.option("--display-name", help="The name for people.")
@click.option("--image-format", help="How images are stored unless a request says otherwise.")
@click.option("--image-quality", type=int, help="1 to 100.")
@click.option("--retention", help="How long predictions and their files are kept, such as 7d or 12h.")
@click.option(
    "--private-outputs/--public-outputs",
    default=None,
    help="Whether output files stored from now on need signed URLs; stays as it is if not given.",
)
@limit_options
@pass_app
def put_tenant(
    app: App,
    /,
    name: str,
    *,
    display_name: str | None,
    image_format: str | None,
    image_quality: int | None,
    retention: str | None,
    private_outputs: bool | None,
    **limits: Any,
) -> None:
    """Replace all settings of a tenant; others that are not given get their defaults.

    The request limits are those of callers with tokens of the identity provider.
    """
    body = drop_missing(
        display_name=display_name,
        retention=retention,
        private_outputs=private_outputs,
        token_limits=build_limits(**limits),
    )
    images = drop_missing(format=image_format, quality=image_quality)
    if images:
        body["images"] = images
    app.show_fields(app.client.call("PUT", build_path("tenants", name), body))


@tenants.command("erase")
@click.argument("name", type=SEGMENT)
@click.option("--confirm", required=True, metavar="NAME", help="The name of the tenant once more.")
@pass_app
def erase_tenant(app: App, name: str, confirm: str) -> None:
    """Erase a tenant: its keys stop, what runs is canceled, and all that is stored is removed.

    This cannot be undone. `tenants erasure NAME` shows the progress, and in the end the report.
    """
    app.show_fields(app.client.call("DELETE", build_path("tenants", name), {"confirm": confirm}))


@tenants.command("erasure")
@click.argument("name", type=SEGMENT)
@pass_app
def show_erasure(app: App, name: str) -> None:
    """Show the progress, or the report, of the erasure of a tenant."""
    app.show_fields(app.client.call("GET", build_path("tenants", name, "erasure")))


@tenants.group("replicate-token", cls=Group)
def replicate_token() -> None:
    """Run a tenant's predictions in its own Replicate account."""


@replicate_token.command("show")
@click.argument("tenant", type=SEGMENT)
@pass_app
def show_token(app: App, tenant: str) -> None:
    """Show the account, and the end of its token."""
    app.show_fields(app.client.call("GET", build_path("tenants", tenant, "replicate-token")))


@replicate_token.command("set")
@click.argument("tenant", type=SEGMENT)
@pass_app
def set_token(app: App, tenant: str) -> None:
    """Set the token, which the environment variable TENANT_REPLICATE_TOKEN or else stdin has.

    It is no argument, because command lines are visible to other users of a machine.
    """
    token = os.environ.get(_TOKEN_VARIABLE) or _read_token()
    app.show_fields(
        app.client.call("PUT", build_path("tenants", tenant, "replicate-token"), {"token": token})
    )


@replicate_token.command("delete")
@click.argument("tenant", type=SEGMENT)
@pass_app
def delete_token(app: App, tenant: str) -> None:
    """Delete the token: new predictions run in the shared account."""
    app.client.call("DELETE", build_path("tenants", tenant, "replicate-token"))
    app.show_done("deleted", f"tenants/{tenant}/replicate-token")


def register(parent: click.Group) -> None:
    add_budget_commands(tenants, "tenants", "TENANT")
    add_concurrency_commands(tenants)
    parent.add_command(tenants)


def _read_token() -> str:
    """Return the token from stdin; a terminal does not show what is typed. Raises UsageError without one."""
    if sys.stdin.isatty():
        token = str(click.prompt("Replicate API token", hide_input=True, err=True))
    else:
        token = sys.stdin.readline()
    if not token.strip():
        raise click.UsageError(f"no token: set {_TOKEN_VARIABLE}, or write the token to stdin")
    return token.strip()
