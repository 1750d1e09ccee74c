"""Tenants' settings through the admin API."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pytest

from replicate_proxy.auth.keys import UsageLimits
from replicate_proxy.auth.tenants import Tenant
from replicate_proxy.clock import format_timestamp
from replicate_proxy.operations.ports import UsagePlanKey
from tests.support.access import FakeGateway, FakeTenantStore
from tests.support.admin_api import AdminApi
from tests.support.clock import NOW

if TYPE_CHECKING:
    from collections.abc import Callable

    from replicate_proxy.operations.ports import Stage

SETTINGS = {"display_name": "Acme", "images": {"format": "avif", "quality": 60}, "retention": "7d"}


def test_settings_can_be_put_and_read(admin_api: AdminApi) -> None:
    status, created = admin_api.call("PUT", "tenants/acme", SETTINGS)
    assert (status, {name: created[name] for name in SETTINGS}) == (200, SETTINGS)
    assert created["created_at"] == format_timestamp(NOW)
    assert admin_api.call("GET", "tenants/acme") == (200, created)
    assert admin_api.call("GET", "tenants")[1] == {"results": [created]}
    assert admin_api.call("GET", "tenants/globex")[0] == 404


def test_put_replaces_all_settings(admin_api: AdminApi) -> None:
    admin_api.call("PUT", "tenants/acme", SETTINGS)
    admin_api.clock.advance(hours=1)
    _, updated = admin_api.call("PUT", "tenants/acme", {"display_name": "Acme Ltd"})
    assert updated["images"] == {"format": None, "quality": None}
    assert updated["retention"] is None
    assert updated["created_at"] == format_timestamp(NOW) != updated["updated_at"]


@pytest.mark.parametrize(
    ("name", "body", "field"),
    [
        ("ACME", {}, "name"),
        ("acme", {"images": {"format": "gif"}}, "images.format"),
        ("acme", {"images": {"quality": 101}}, "images.quality"),
        ("acme", {"display_name": "x" * 101}, "display_name"),
        ("acme", {"scopes": []}, ""),
        ("acme", {"retention": "soon"}, "retention"),
        ("acme", {"retention": "0d"}, "retention"),
        ("acme", {"retention": "31d"}, "retention"),
        ("acme", {"retention": 7}, "retention"),
    ],
)
def test_put_rejects_invalid_name_or_body_and_names_field(
    admin_api: AdminApi, name: str, body: Any, field: str
) -> None:
    status, problem = admin_api.call("PUT", f"tenants/{name}", body)
    assert (status, problem["invalid_fields"][0]["field"]) == (422, field)
    assert admin_api.tenants.tenants == {}


def test_tenant_has_usage_key_when_usage_plans_are_enabled(admin_api: AdminApi) -> None:
    admin_api.has_usage_plans = True
    admin_api.call("PUT", "tenants/acme", {"token_limits": {"rate": 5, "burst": 5}})
    assert admin_api.gateway.limits_by_label == {"acme-tokens": UsageLimits(5, 5)}
    assert admin_api.tenants.tenants["acme"].usage_key == "value-of-acme-tokens"


def test_put_with_same_limits_keeps_usage_key(admin_api: AdminApi) -> None:
    admin_api.has_usage_plans = True
    body = {"token_limits": {"rate": 5, "burst": 5}}
    admin_api.call("PUT", "tenants/acme", body)
    admin_api.gateway.limits_by_label.clear()
    admin_api.call("PUT", "tenants/acme", body)
    assert admin_api.gateway.limits_by_label == {}


class TestErasure:
    """The routes; what the worker does is tested in erasure/test_erasure.py."""

    def test_erasure_is_started_once_and_shown(self, admin_api: AdminApi) -> None:
        admin_api.call("PUT", "tenants/acme", SETTINGS)
        _, key = admin_api.call("POST", "keys", {"tenant": "acme"})

        status, started = admin_api.call("DELETE", "tenants/acme", {"confirm": "acme"})

        assert (status, started["status"], started["step"]) == (202, "running", "predictions")
        assert started["started_by"] == {"key_id": "op", "source": "api"}
        assert started["started_at"] == started["next_step_at"] == format_timestamp(NOW)
        assert {each["what"] for each in started["kept"]} >= {"usage", "audit", "backups"}
        assert admin_api.call("GET", "tenants/acme/erasure") == (200, started)
        assert admin_api.call("DELETE", "tenants/acme", {"confirm": "acme"}) == (200, started)
        assert admin_api.call("GET", f"keys/{key['id']}")[1]["revoked_at"] == format_timestamp(NOW)
        assert admin_api.call("GET", "tenants/acme")[1]["erasing_since"] == format_timestamp(NOW)

    @pytest.mark.parametrize("body", [None, {}, {"confirm": "globex"}, {"confirm": None}])
    def test_unconfirmed_erasure_is_refused(self, admin_api: AdminApi, body: Any) -> None:
        admin_api.call("PUT", "tenants/acme", SETTINGS)
        status, problem = admin_api.call("DELETE", "tenants/acme", body)

        assert (status, problem["invalid_fields"][0]["field"]) == (422, "confirm")
        assert admin_api.tenants.tenants["acme"].erasing_since is None
        assert admin_api.call("GET", "tenants/acme/erasure")[0] == 404

    def test_unknown_tenant_and_tenant_of_operators_are_refused(self, admin_api: AdminApi) -> None:
        assert admin_api.call("DELETE", "tenants/nope", {"confirm": "nope"})[0] == 404
        assert admin_api.call("DELETE", "tenants/No", {"confirm": "No"})[0] == 404
        admin_api.call("POST", "keys", {"tenant": "operators", "scopes": ["admin"]})
        assert admin_api.call("DELETE", "tenants/operators", {"confirm": "operators"})[0] == 409

    def test_nothing_is_created_for_a_tenant_that_is_being_erased(self, admin_api: AdminApi) -> None:
        admin_api.call("PUT", "tenants/acme", SETTINGS)
        admin_api.call("DELETE", "tenants/acme", {"confirm": "acme"})

        assert admin_api.call("PUT", "tenants/acme", SETTINGS)[0] == 409
        assert admin_api.call("POST", "keys", {"tenant": "acme"})[0] == 409


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


@dataclass
class BusyTenantStore(FakeTenantStore):
    """Makes a change of another operator before each of the next saves."""

    changes: list[Callable[[], object]] = field(default_factory=list)

    def save(self, tenant: Tenant) -> Tenant:
        if self.changes:
            self.changes.pop(0)()
        return super().save(tenant)


@dataclass
class NumberedGateway(FakeGateway):
    """Each usage key has an ID of its own, as in API Gateway."""

    count: int = 0

    def create_key(self, label: str, limits: UsageLimits, stage: Stage) -> UsagePlanKey:
        self.count += 1
        return super().create_key(f"{label}-{self.count}", limits, stage)


class TestConcurrentChanges:
    @pytest.fixture
    def store(self) -> BusyTenantStore:
        return BusyTenantStore()

    @pytest.fixture
    def admin_api(self, store: BusyTenantStore) -> AdminApi:
        return AdminApi(tenants=store, gateway=NumberedGateway(), has_usage_plans=True)

    def put(self, admin_api: AdminApi, rate: float, **fields: Any) -> int:
        body = {**SETTINGS, "token_limits": {"rate": rate, "burst": 5}, **fields}
        return admin_api.call("PUT", "tenants/acme", body)[0]

    def test_put_does_not_undo_an_erasure(self, admin_api: AdminApi, store: BusyTenantStore) -> None:
        self.put(admin_api, 1)
        store.changes = [lambda: admin_api.call("DELETE", "tenants/acme", {"confirm": "acme"})]

        assert self.put(admin_api, 2) == 409

        assert store.tenants["acme"].erasing_since == NOW
        assert store.tenants["acme"].usage_key_id == "acme-tokens-1"
        assert set(admin_api.gateway.limits_by_label) == {"acme-tokens-1"}

    def test_erasure_keeps_what_a_put_has_saved(self, admin_api: AdminApi, store: BusyTenantStore) -> None:
        self.put(admin_api, 1)
        store.changes = [lambda: self.put(admin_api, 2, display_name="changed")]

        assert admin_api.call("DELETE", "tenants/acme", {"confirm": "acme"})[0] == 202

        tenant = store.tenants["acme"]
        assert (tenant.erasing_since, tenant.display_name) == (NOW, "changed")
        assert set(admin_api.gateway.limits_by_label) == {tenant.usage_key_id}

    def test_later_of_two_puts_replaces_the_usage_key_of_the_other(
        self, admin_api: AdminApi, store: BusyTenantStore
    ) -> None:
        self.put(admin_api, 1)
        store.changes = [lambda: self.put(admin_api, 2, private_outputs=True)]

        assert self.put(admin_api, 3) == 200

        tenant = store.tenants["acme"]
        assert tenant.token_limits == UsageLimits(3, 5)
        assert tenant.private_outputs
        assert admin_api.gateway.limits_by_label == {tenant.usage_key_id: UsageLimits(3, 5)}

    def test_put_gives_up_when_the_settings_keep_changing(
        self, admin_api: AdminApi, store: BusyTenantStore
    ) -> None:
        self.put(admin_api, 1)

        def change() -> None:
            store.tenants["acme"] = replace(
                store.tenants["acme"], revision=store.tenants["acme"].revision + 1
            )

        store.changes = [change] * 20
        assert self.put(admin_api, 2) == 503
        assert len(store.changes) == 15
        assert set(admin_api.gateway.limits_by_label) == {"acme-tokens-1"}
