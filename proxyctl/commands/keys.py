"""Commands of API keys."""

from __future__ import annotations

from typing import Any

import click

from proxyctl.app import SEGMENT, App, FiniteFloat, Group, build_limits, drop_missing, limit_options, pass_app
from proxyctl.client import build_path
from proxyctl.commands.limits import add_budget_commands

_COLUMNS = ("id", "tenant", "name", "scopes", "created_at", "last_used_at", "expires_at", "revoked_at")
_SECONDS_PER_HOUR = 3600
_MAX_OVERLAP_HOURS = 7 * 24


@click.group(cls=Group)
def keys() -> None:
    """List, create, change, rotate and revoke API keys."""


@keys.command("list")
@click.argument("tenant", required=False)
@pass_app
def list_keys(app: App, tenant: str | None) -> None:
    """List all keys, or those of a tenant."""
    query = drop_missing(tenant=tenant)
    app.show_rows(app.client.call("GET", build_path("keys"), query=query)["results"], _COLUMNS)


@keys.command("show")
@click.argument("key_id", metavar="ID", type=SEGMENT)
@pass_app
def show_key(app: App, key_id: str) -> None:
    """Show a key, without its secret."""
    app.show_fields(app.client.call("GET", build_path("keys", key_id)))


@keys.command("create")
@click.argument("tenant")
@click.option("--name", help="What the key is for.")
@click.option("--scope", multiple=True, help="Repeatable; without it, all scopes but admin.")
@click.option("--ip", multiple=True, help="Allow only this address or CIDR range; repeatable.")
@click.option("--model", multiple=True, help="Allow only this owner/name or owner/*; repeatable.")
@click.option("--expires-at", metavar="TIME", help="A time with an offset, like 2027-01-31T09:30:00Z.")
@limit_options
@pass_app
def create_key(
    app: App, /, tenant: str, rate: float | None, burst: int | None, monthly_quota: int | None, **options: Any
) -> None:
    """Create a key of a tenant. Its secret is shown once, now."""
    fields = _build_fields(limits=build_limits(rate, burst, monthly_quota), **options)
    _show_secret(app, app.client.call("POST", build_path("keys"), {"tenant": tenant, **fields}))


@keys.command("update")
@click.argument("key_id", metavar="ID", type=SEGMENT)
@click.option("--name", help="What the key is for.")
@click.option("--scope", multiple=True, help="Replaces all scopes; repeatable.")
@click.option("--ip", multiple=True, help="Replaces all addresses; repeatable.")
@click.option("--any-ip", is_flag=True, help="Allow all addresses.")
@click.option("--model", multiple=True, help="Replaces all models; repeatable.")
@click.option("--any-model", is_flag=True, help="Allow all models.")
@click.option("--expires-at", metavar="TIME", help="A time with an offset, like 2027-01-31T09:30:00Z.")
@click.option("--no-expiry", is_flag=True, help="The key does not expire.")
@limit_options
@click.option("--default-limits", is_flag=True, help="Remove the key's own limits.")
@pass_app
def update_key(
    app: App, /, key_id: str, rate: float | None, burst: int | None, monthly_quota: int | None, **options: Any
) -> None:
    """Change the given properties of a key; the others stay."""
    cleared: dict[str, Any] = {
        field: value
        for flag, field, value in (
            ("any_ip", "allowed_ips", []),
            ("any_model", "allowed_models", []),
            ("no_expiry", "expires_at", None),
            ("default_limits", "limits", None),
        )
        if options.pop(flag)
    }
    fields = _build_fields(limits=build_limits(rate, burst, monthly_quota), **options)
    if not fields and not cleared:
        raise click.UsageError("name a property to change")
    if both := fields.keys() & cleared.keys():
        raise click.UsageError(f"{', '.join(sorted(both))} cannot be both set and cleared")
    app.show_fields(app.client.call("PATCH", build_path("keys", key_id), {**fields, **cleared}))


@keys.command("rotate")
@click.argument("key_id", metavar="ID", type=SEGMENT)
@click.option(
    "--overlap-hours",
    type=FiniteFloat(min=0, max=_MAX_OVERLAP_HOURS),
    default=24,
    show_default=True,
    help="How long the old secret stays valid.",
)
@pass_app
def rotate_key(app: App, key_id: str, overlap_hours: float) -> None:
    """Create a new secret of a key. It is shown once, now."""
    body = {"overlap_seconds": int(overlap_hours * _SECONDS_PER_HOUR)}
    _show_secret(app, app.client.call("POST", build_path("keys", key_id, "rotate"), body))


@keys.command("revoke")
@click.argument("key_id", metavar="ID", type=SEGMENT)
@pass_app
def revoke_key(app: App, key_id: str) -> None:
    """Revoke a key. `effective at` is when it is rejected everywhere."""
    app.show_fields(app.client.call("DELETE", build_path("keys", key_id)))


def register(parent: click.Group) -> None:
    add_budget_commands(keys, "keys", "ID")
    parent.add_command(keys)


def _build_fields(*, limits: dict[str, Any] | None, **options: Any) -> dict[str, Any]:
    return drop_missing(
        name=options["name"],
        scopes=options["scope"],
        allowed_ips=options["ip"],
        allowed_models=options["model"],
        expires_at=options["expires_at"],
        limits=limits,
    )


def _show_secret(app: App, key: dict[str, Any]) -> None:
    if app.as_json:
        app.show_fields(key)
        return
    secret = key.pop("key")
    app.show_fields(key)
    # Not in the table, which would break it on a narrow terminal.
    app.note(f"key  {secret}")
    app.note("Store the key now: it is not shown again.")
