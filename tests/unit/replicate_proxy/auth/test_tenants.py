"""Tenants: names, rows, and settings read through the cache."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from replicate_proxy.auth.keys import UsageLimits
from replicate_proxy.auth.tenants import CachedTenants, ImageDefaults, Tenant, is_tenant_name
from replicate_proxy.aws.tenant_store import DynamoTenantStore
from tests.support.access import TABLE, FakeTenantStore
from tests.support.clock import NOW, FakeClock

if TYPE_CHECKING:
    from replicate_proxy.auth.ports import TenantStore


@pytest.mark.parametrize("name", ["a", "acme", "acme-2", "0", "a" * 63])
def test_names(name: str) -> None:
    assert is_tenant_name(name)


@pytest.mark.parametrize(
    "name", ["", "-a", "a-", "A", "a_b", "a#b", "a/b", "..", "a" * 64, "a\n", "\N{FULLWIDTH DIGIT ONE}"]
)
def test_what_is_no_name(name: str) -> None:
    assert not is_tenant_name(name)


@pytest.fixture(params=["dynamodb", "fake"])
def store(request: pytest.FixtureRequest) -> TenantStore:
    if request.param == "fake":
        return FakeTenantStore()
    return DynamoTenantStore(request.getfixturevalue("dynamodb"), TABLE)


def test_a_saved_tenant_comes_back_whole(store: TenantStore) -> None:
    tenant = Tenant(
        "acme",
        display_name="Ácme GmbH",
        images=ImageDefaults("avif", 60),
        token_limits=UsageLimits(0.5, 1),
        usage_key_id="u1",
        usage_key="value",
        created_at=NOW,
        updated_at=NOW + timedelta(seconds=1),
    )
    store.save(tenant)
    store.save(Tenant("bare"))
    assert store.get("acme") == tenant
    assert store.list() == [tenant, Tenant("bare")]


def test_a_deleted_tenant_is_gone(store: TenantStore) -> None:
    store.save(Tenant("acme"))
    store.delete("acme")
    assert store.get("acme") is None


def test_settings_are_read_once_a_minute(clock: FakeClock) -> None:
    store = FakeTenantStore({"acme": Tenant("acme", images=ImageDefaults("avif"))})
    tenants = CachedTenants(store, clock)
    assert tenants.get("acme").images.format == "avif"
    store.save(Tenant("acme", images=ImageDefaults("webp")))
    assert tenants.get("acme").images.format == "avif"
    clock.advance(seconds=60)
    assert tenants.get("acme").images.format == "webp"


def test_a_tenant_without_a_row_has_the_defaults(clock: FakeClock) -> None:
    assert CachedTenants(FakeTenantStore(), clock).get("acme") == Tenant("acme")


def test_an_outage_leaves_the_last_known_settings(clock: FakeClock) -> None:
    store = FakeTenantStore({"acme": Tenant("acme", images=ImageDefaults("avif"))})
    tenants: Any = CachedTenants(store, clock)
    tenants.get("acme")
    store.down = True
    clock.advance(hours=1)
    assert tenants.get("acme").images.format == "avif"
    assert tenants.get("globex") == Tenant("globex")
