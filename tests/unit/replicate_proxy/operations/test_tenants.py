"""Tenants' settings through the admin API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from replicate_proxy.auth.keys import UsageLimits
from replicate_proxy.clock import format_timestamp
from tests.support.clock import NOW

if TYPE_CHECKING:
    from tests.unit.replicate_proxy.operations.conftest import World

SETTINGS = {"display_name": "Acme", "images": {"format": "avif", "quality": 60}}


def test_settings_can_be_put_read_and_deleted(world: World) -> None:
    status, created = world.call("PUT", "tenants/acme", SETTINGS)
    assert (status, created["images"], created["created_at"]) == (
        200,
        SETTINGS["images"],
        format_timestamp(NOW),
    )
    assert world.call("GET", "tenants/acme") == (200, created)
    assert world.call("GET", "tenants")[1] == {"results": [created]}
    assert world.call("DELETE", "tenants/acme") == (204, None)
    assert world.call("GET", "tenants/acme")[0] == 404
    assert world.call("DELETE", "tenants/acme")[0] == 404


def test_put_replaces_all_settings(world: World) -> None:
    world.call("PUT", "tenants/acme", SETTINGS)
    world.clock.advance(hours=1)
    _, updated = world.call("PUT", "tenants/acme", {"display_name": "Acme Ltd"})
    assert updated["images"] == {"format": None, "quality": None}
    assert updated["created_at"] == format_timestamp(NOW) != updated["updated_at"]


@pytest.mark.parametrize(
    ("name", "body", "field"),
    [
        ("ACME", {}, "name"),
        ("acme", {"images": {"format": "gif"}}, "images.format"),
        ("acme", {"images": {"quality": 101}}, "images.quality"),
        ("acme", {"display_name": "x" * 101}, "display_name"),
        ("acme", {"scopes": []}, ""),
    ],
)
def test_put_rejects_invalid_name_or_body_and_names_field(
    world: World, name: str, body: Any, field: str
) -> None:
    status, problem = world.call("PUT", f"tenants/{name}", body)
    assert (status, problem["invalid_fields"][0]["field"]) == (422, field)
    assert world.tenants.tenants == {}


def test_tenant_has_usage_key_until_deleted_when_usage_plans_are_enabled(world: World) -> None:
    world.usage_plans = True
    world.call("PUT", "tenants/acme", {"token_limits": {"rate": 5, "burst": 5}})
    assert world.gateway.limits_by_label == {"acme-tokens": UsageLimits(5, 5)}
    assert world.tenants.tenants["acme"].usage_key == "value-of-acme-tokens"
    world.call("DELETE", "tenants/acme")
    assert world.gateway.limits_by_label == {}


def test_put_with_same_limits_keeps_usage_key(world: World) -> None:
    world.usage_plans = True
    body = {"token_limits": {"rate": 5, "burst": 5}}
    world.call("PUT", "tenants/acme", body)
    world.gateway.limits_by_label.clear()
    world.call("PUT", "tenants/acme", body)
    assert world.gateway.limits_by_label == {}
