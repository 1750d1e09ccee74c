"""Tenants: names, the store, and the cache of settings."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from replicate_proxy.auth.keys import UsageLimits
from replicate_proxy.auth.tenants import CachedTenants, ImageDefaults, Tenant, is_tenant_name
from replicate_proxy.aws.tenant_store import DynamoTenantStore
from replicate_proxy.errors import ConflictError, RetryableError
from tests.support.access import FakeTenantStore
from tests.support.aws import ACCESS_TABLE
from tests.support.clock import NOW, FakeClock

if TYPE_CHECKING:
    from replicate_proxy.auth.ports import TenantStore


@pytest.mark.parametrize("name", ["a", "acme", "acme-2", "0", "a" * 63])
def test_is_tenant_name_accepts_valid_name(name: str) -> None:
    assert is_tenant_name(name)


@pytest.mark.parametrize(
    "name", ["", "-a", "a-", "A", "a_b", "a#b", "a/b", "..", "a" * 64, "a\n", "\N{FULLWIDTH DIGIT ONE}"]
)
def test_is_tenant_name_rejects_invalid_name(name: str) -> None:
    assert not is_tenant_name(name)


@pytest.fixture(params=["dynamodb", "fake"])
def store(request: pytest.FixtureRequest) -> TenantStore:
    if request.param == "fake":
        return FakeTenantStore()
    return DynamoTenantStore(request.getfixturevalue("dynamodb"), ACCESS_TABLE)


def test_saved_tenant_round_trips(store: TenantStore) -> None:
    tenant = Tenant(
        "acme",
        display_name="Ácme GmbH",
        images=ImageDefaults("avif", 60),
        private_outputs=True,
        token_limits=UsageLimits(0.5, 1),
        retention_seconds=604_800,
        usage_key_id="u1",
        usage_key="value",
        created_at=NOW,
        updated_at=NOW + timedelta(seconds=1),
    )
    saved, minimal = store.save(tenant), store.save(Tenant("minimal"))
    assert (saved, minimal) == (replace(tenant, revision=1), Tenant("minimal", revision=1))
    assert store.get("acme") == saved
    assert store.list() == [saved, minimal]


def test_save_conflicts_when_the_settings_have_changed(store: TenantStore) -> None:
    created = store.save(Tenant("acme"))
    changed = store.save(replace(created, display_name="Acme"))
    for stale in (created, Tenant("acme"), replace(changed, revision=3)):
        with pytest.raises(ConflictError):
            store.save(stale)
    assert store.get("acme") == changed
    store.delete("acme")
    with pytest.raises(ConflictError):
        store.save(changed)


def test_settings_that_were_stored_without_a_revision_can_be_changed(dynamodb: Any) -> None:
    store = DynamoTenantStore(dynamodb, ACCESS_TABLE)
    store.save(Tenant("acme"))
    dynamodb.update_item(
        TableName=ACCESS_TABLE,
        Key={"pk": {"S": "TENANTS"}, "sk": {"S": "TENANT#acme"}},
        UpdateExpression="REMOVE revision",
    )
    stored = store.get("acme")
    assert stored is not None
    assert store.save(replace(stored, display_name="Acme")) == store.get("acme")
    with pytest.raises(ConflictError):
        store.save(stored)


def test_settings_are_read_consistently_where_they_are_changed() -> None:
    reads: list[bool] = []

    class Client:
        def get_item(self, **request: Any) -> dict[str, Any]:
            reads.append(request["ConsistentRead"])
            return {}

    client: Any = Client()
    DynamoTenantStore(client, ACCESS_TABLE).get("acme")
    DynamoTenantStore(client, ACCESS_TABLE, consistent=True).get("acme")
    assert reads == [False, True]


def test_get_returns_none_for_deleted_tenant(store: TenantStore) -> None:
    store.save(Tenant("acme"))
    store.delete("acme")
    assert store.get("acme") is None


def test_cache_reads_settings_at_most_once_a_minute(clock: FakeClock) -> None:
    store = FakeTenantStore({"acme": Tenant("acme", images=ImageDefaults("avif"))})
    tenants = CachedTenants(store, clock)
    assert tenants.get("acme").images.format == "avif"
    store.save(Tenant("acme", images=ImageDefaults("webp")))
    assert tenants.get("acme").images.format == "avif"
    clock.advance(seconds=60)
    assert tenants.get("acme").images.format == "webp"


def test_cache_returns_defaults_for_tenant_without_settings(clock: FakeClock) -> None:
    assert CachedTenants(FakeTenantStore(), clock).get("acme") == Tenant("acme")


def test_cache_does_not_guess_settings_that_must_be_current(clock: FakeClock) -> None:
    store = FakeTenantStore({"acme": Tenant("acme", private_outputs=True)})
    tenants: Any = CachedTenants(store, clock)
    assert tenants.get_current("acme").private_outputs
    store.is_unavailable = True
    assert tenants.get_current("acme").private_outputs
    clock.advance(seconds=60)
    with pytest.raises(RetryableError):
        tenants.get_current("acme")


def test_cache_returns_last_known_settings_during_outage(clock: FakeClock) -> None:
    store = FakeTenantStore({"acme": Tenant("acme", images=ImageDefaults("avif"))})
    tenants: Any = CachedTenants(store, clock)
    tenants.get("acme")
    store.is_unavailable = True
    clock.advance(minutes=4)
    assert tenants.get_known("acme").images.format == "avif"
    clock.advance(hours=1)
    assert tenants.get("acme").images.format == "avif"
    assert tenants.get("globex") == Tenant("globex")


@pytest.mark.parametrize("name", ["acme", "globex"])
def test_cache_does_not_return_as_known_what_was_read_minutes_ago(clock: FakeClock, name: str) -> None:
    store = FakeTenantStore({"acme": Tenant("acme")})
    tenants: Any = CachedTenants(store, clock)
    tenants.get("acme")
    store.is_unavailable = True
    clock.advance(minutes=5)
    with pytest.raises(RetryableError):
        tenants.get_known(name)
