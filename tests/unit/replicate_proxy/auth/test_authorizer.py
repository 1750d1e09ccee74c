"""Who gets in, with what, and what happens while the key store is away."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from replicate_proxy.auth.authorizer import Authorizer
from replicate_proxy.auth.errors import DeniedError, UnauthenticatedError
from replicate_proxy.auth.keys import ApiKeySecret
from replicate_proxy.auth.principal import DEFAULT_SCOPES, Principal
from replicate_proxy.auth.stale_key_cache import StaleKeyCache
from replicate_proxy.auth.tenants import Tenant
from replicate_proxy.errors import RetryableError
from tests.support.access import DIGEST_KEY, FakeKeyStore, FakeTenantStore, make_key
from tests.support.clock import NOW, FakeClock

HERE = "203.0.113.9"


class FakeTokens:
    """Knows one token."""

    def verify(self, token: str) -> Principal:
        if token != "eyJ.good.token":
            raise UnauthenticatedError("not that token")
        return Principal("acme", "jwt:alice", frozenset({"predictions:read"}))


def authorizer(
    store: FakeKeyStore, clock: FakeClock, *, tokens: bool = False, tenants: FakeTenantStore | None = None
) -> Authorizer:
    return Authorizer(
        keys=StaleKeyCache(store, clock=clock, max_stale=timedelta(minutes=5)),
        tokens=FakeTokens() if tokens else None,
        digest_key=lambda: DIGEST_KEY,
        clock=clock,
        tenants=tenants,
    )


@pytest.mark.parametrize("scheme", ["Bearer", "Token", "bearer", "TOKEN"])
def test_a_good_key_gives_the_caller_its_record_describes(scheme: str, clock: FakeClock) -> None:
    key, text = make_key(allowed_models=("acme/one",), usage_key="usage")
    grant = authorizer(FakeKeyStore({key.id: key}), clock).authorize(f"{scheme} {text}", HERE)
    assert grant.principal == Principal("acme", key.id, frozenset(DEFAULT_SCOPES), ("acme/one",))
    assert grant.usage_key == "usage"


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        "Bearer ",
        "{key}",
        "Basic {key}",
        "Bearer {key}x",
        "Bearer Bearer {key}",
        "Bearer {key} {key}",
        "Bearer r8_abcdefghijklmnopqrstuvwxyz0123456789",
        "Bearer " + "x" * 100_000,
        "Bearer eyJ.good.token",
        "Bearer rp_\x00",
    ],
)
def test_what_is_no_credential_is_refused(header: str, clock: FakeClock) -> None:
    key, text = make_key()
    with pytest.raises(UnauthenticatedError):
        authorizer(FakeKeyStore({key.id: key}), clock).authorize(header.replace("{key}", str(text)), HERE)


def test_unknown_wrong_and_revoked_keys_are_refused_alike(clock: FakeClock) -> None:
    key, text = make_key()
    revoked, revoked_text = make_key(revoked_at=NOW)
    service = authorizer(FakeKeyStore({key.id: key, revoked.id: revoked}), clock)
    for wrong in (ApiKeySecret.generate(), ApiKeySecret.generate(key.id), revoked_text):
        with pytest.raises(UnauthenticatedError):
            service.authorize(f"Bearer {wrong}", HERE)
    assert service.authorize(f"Bearer {text}", HERE).principal.tenant == "acme"


def test_the_reason_never_holds_the_secret(clock: FakeClock) -> None:
    text = ApiKeySecret.generate()
    with pytest.raises(UnauthenticatedError) as refused:
        authorizer(FakeKeyStore(), clock).authorize(f"Bearer {text}", HERE)
    assert text.secret not in str(refused.value)


def test_an_expired_key_is_denied(clock: FakeClock) -> None:
    key, text = make_key(expires_at=NOW + timedelta(minutes=1))
    service = authorizer(FakeKeyStore({key.id: key}), clock)
    assert service.authorize(f"Bearer {text}", HERE).principal.tenant == "acme"
    clock.advance(minutes=1)
    with pytest.raises(DeniedError, match="expired"):
        service.authorize(f"Bearer {text}", HERE)


def test_a_key_with_an_allow_list_works_from_there_only(clock: FakeClock) -> None:
    key, text = make_key(allowed_ips=("203.0.113.0/24", "2001:db8::/32"))
    service = authorizer(FakeKeyStore({key.id: key}), clock)
    for source in (HERE, "2001:db8::5"):
        assert service.authorize(f"Bearer {text}", source).principal.tenant == "acme"
    for source in ("198.51.100.1", "2001:db9::5", ""):
        with pytest.raises(DeniedError, match="address"):
            service.authorize(f"Bearer {text}", source)


def test_the_last_use_is_noted_at_most_once_an_hour(clock: FakeClock) -> None:
    key, text = make_key()
    store = FakeKeyStore({key.id: key})
    service = authorizer(store, clock)
    service.authorize(f"Bearer {text}", HERE)
    clock.advance(minutes=59)
    service.authorize(f"Bearer {text}", HERE)
    assert store.keys[key.id].last_used_at == NOW
    clock.advance(minutes=1)
    service.authorize(f"Bearer {text}", HERE)
    assert store.keys[key.id].last_used_at == NOW + timedelta(hours=1)


def test_a_refused_key_is_not_noted_as_used(clock: FakeClock) -> None:
    key, text = make_key(allowed_ips=("10.0.0.0/8",))
    store = FakeKeyStore({key.id: key})
    with pytest.raises(DeniedError):
        authorizer(store, clock).authorize(f"Bearer {text}", HERE)
    assert store.keys[key.id].last_used_at is None


def test_while_the_store_is_away_known_keys_work_for_the_grace_and_not_longer(clock: FakeClock) -> None:
    key, text = make_key()
    store = FakeKeyStore({key.id: key})
    service = authorizer(store, clock)
    service.authorize(f"Bearer {text}", HERE)
    store.down = True
    clock.advance(minutes=5)
    assert service.authorize(f"Bearer {text}", HERE).principal.tenant == "acme"
    clock.advance(seconds=1)
    with pytest.raises(RetryableError):
        service.authorize(f"Bearer {text}", HERE)


def test_while_the_store_is_away_nobody_new_gets_in(clock: FakeClock) -> None:
    known, known_text = make_key()
    stranger, stranger_text = make_key()
    store = FakeKeyStore({known.id: known, stranger.id: stranger})
    service = authorizer(store, clock)
    service.authorize(f"Bearer {known_text}", HERE)
    store.down = True
    with pytest.raises(RetryableError):
        service.authorize(f"Bearer {stranger_text}", HERE)
    with pytest.raises(UnauthenticatedError):
        service.authorize(f"Bearer {ApiKeySecret.generate(known.id)}", HERE)


def test_a_key_seen_revoked_is_not_revived_by_an_outage(clock: FakeClock) -> None:
    key, text = make_key()
    store = FakeKeyStore({key.id: key})
    service = authorizer(store, clock)
    service.authorize(f"Bearer {text}", HERE)
    store.keys[key.id] = replace(key, revoked_at=NOW)
    with pytest.raises(UnauthenticatedError):
        service.authorize(f"Bearer {text}", HERE)
    store.down = True
    with pytest.raises(UnauthenticatedError):
        service.authorize(f"Bearer {text}", HERE)


def test_a_key_seen_deleted_is_forgotten(clock: FakeClock) -> None:
    key, text = make_key()
    store = FakeKeyStore({key.id: key})
    service = authorizer(store, clock)
    service.authorize(f"Bearer {text}", HERE)
    del store.keys[key.id]
    with pytest.raises(UnauthenticatedError):
        service.authorize(f"Bearer {text}", HERE)
    store.down = True
    with pytest.raises(RetryableError):
        service.authorize(f"Bearer {text}", HERE)


def test_an_expiry_holds_during_an_outage_too(clock: FakeClock) -> None:
    key, text = make_key(expires_at=NOW + timedelta(minutes=2))
    store = FakeKeyStore({key.id: key})
    service = authorizer(store, clock)
    service.authorize(f"Bearer {text}", HERE)
    store.down = True
    clock.advance(minutes=3)
    with pytest.raises(DeniedError):
        service.authorize(f"Bearer {text}", HERE)


def test_a_token_is_verified_where_an_issuer_is_set(clock: FakeClock) -> None:
    service = authorizer(FakeKeyStore(), clock, tokens=True)
    grant = service.authorize("Bearer eyJ.good.token", HERE)
    assert grant.principal.key_id == "jwt:alice"
    assert grant.usage_key is None
    with pytest.raises(UnauthenticatedError):
        service.authorize("Bearer eyJ.bad.token", HERE)


def test_a_token_is_counted_by_its_tenants_usage_key(clock: FakeClock) -> None:
    tenants = FakeTenantStore({"acme": Tenant("acme", usage_key="tenant-usage")})
    service = authorizer(FakeKeyStore(), clock, tokens=True, tenants=tenants)
    assert service.authorize("Bearer eyJ.good.token", HERE).usage_key == "tenant-usage"
    tenants.tenants.clear()
    assert service.authorize("Bearer eyJ.good.token", HERE).usage_key is None
