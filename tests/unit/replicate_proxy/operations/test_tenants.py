"""Tenants' settings through the admin API."""

from __future__ import annotations

from typing import Any

import pytest

from replicate_proxy.auth.keys import UsageLimits
from replicate_proxy.auth.tenants import Tenant
from replicate_proxy.clock import format_timestamp
from tests.support.admin_api import AdminApi
from tests.support.clock import NOW

SETTINGS = {"display_name": "Acme", "images": {"format": "avif", "quality": 60}}


def test_settings_can_be_put_read_and_deleted(admin_api: AdminApi) -> None:
    status, created = admin_api.call("PUT", "tenants/acme", SETTINGS)
    assert (status, created["images"], created["created_at"]) == (
        200,
        SETTINGS["images"],
        format_timestamp(NOW),
    )
    assert admin_api.call("GET", "tenants/acme") == (200, created)
    assert admin_api.call("GET", "tenants")[1] == {"results": [created]}
    assert admin_api.call("DELETE", "tenants/acme") == (204, None)
    assert admin_api.call("GET", "tenants/acme")[0] == 404
    assert admin_api.call("DELETE", "tenants/acme")[0] == 404


def test_put_replaces_all_settings(admin_api: AdminApi) -> None:
    admin_api.call("PUT", "tenants/acme", SETTINGS)
    admin_api.clock.advance(hours=1)
    _, updated = admin_api.call("PUT", "tenants/acme", {"display_name": "Acme Ltd"})
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
    admin_api: AdminApi, name: str, body: Any, field: str
) -> None:
    status, problem = admin_api.call("PUT", f"tenants/{name}", body)
    assert (status, problem["invalid_fields"][0]["field"]) == (422, field)
    assert admin_api.tenants.tenants == {}


def test_tenant_has_usage_key_until_deleted_when_usage_plans_are_enabled(admin_api: AdminApi) -> None:
    admin_api.has_usage_plans = True
    admin_api.call("PUT", "tenants/acme", {"token_limits": {"rate": 5, "burst": 5}})
    assert admin_api.gateway.limits_by_label == {"acme-tokens": UsageLimits(5, 5)}
    assert admin_api.tenants.tenants["acme"].usage_key == "value-of-acme-tokens"
    admin_api.call("DELETE", "tenants/acme")
    assert admin_api.gateway.limits_by_label == {}


def test_put_with_same_limits_keeps_usage_key(admin_api: AdminApi) -> None:
    admin_api.has_usage_plans = True
    body = {"token_limits": {"rate": 5, "burst": 5}}
    admin_api.call("PUT", "tenants/acme", body)
    admin_api.gateway.limits_by_label.clear()
    admin_api.call("PUT", "tenants/acme", body)
    assert admin_api.gateway.limits_by_label == {}


def test_private_outputs_stay_until_they_are_switched_off(admin_api: AdminApi) -> None:
    assert admin_api.call("PUT", "tenants/acme", SETTINGS)[1]["private_outputs"] is False
    assert admin_api.call("PUT", "tenants/acme", {"private_outputs": True})[1]["private_outputs"] is True
    # By whoever does not know the setting.
    assert admin_api.call("PUT", "tenants/acme", SETTINGS)[1]["private_outputs"] is True
    assert admin_api.tenants.tenants["acme"].private_outputs
    assert admin_api.call("PUT", "tenants/acme", {"private_outputs": False})[1]["private_outputs"] is False


def test_private_outputs_are_refused_without_a_key() -> None:
    admin_api = AdminApi(can_sign_urls=False)

    status, problem = admin_api.call("PUT", "tenants/acme", {"private_outputs": True})

    assert (status, "PrivateOutputsPublicKey1" in problem["detail"]) == (409, True)
    assert admin_api.tenants.tenants == {}
    # What is private already stays so, and other settings can be changed.
    admin_api.tenants.save(Tenant("acme", private_outputs=True))
    assert admin_api.call("PUT", "tenants/acme", {**SETTINGS, "private_outputs": True})[0] == 200
