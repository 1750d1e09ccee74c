"""Authorizer: credentials, key status, allow-lists, and outages of the key store."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from replicate_proxy.auth.authorizer import Authorizer
from replicate_proxy.auth.errors import DeniedError, UnauthenticatedError
from replicate_proxy.auth.keys import ApiKeySecret, rotate_key
from replicate_proxy.auth.principal import DEFAULT_SCOPES, Principal
from replicate_proxy.auth.stale_key_cache import StaleKeyCache
from replicate_proxy.auth.tenants import Tenant
from replicate_proxy.errors import RetryableError
from tests.support.access import DIGEST_KEY, FakeKeyStore, FakeTenantStore, make_key
from tests.support.clock import NOW, FakeClock

SOURCE_IP = "203.0.113.9"


class FakeTokenVerifier:
    """Accepts one token."""

    def verify(self, token: str) -> Principal:
        if token != "eyJ.good.token":
            raise UnauthenticatedError("unknown token")
        return Principal("acme", "jwt:alice", frozenset({"predictions:read"}))


class AcceptingTokenVerifier:
    """Accepts every token; the subject is its length."""

    def verify(self, token: str) -> Principal:
        return Principal("acme", f"jwt:{len(token)}", frozenset())


def make_authorizer(
    store: FakeKeyStore,
    clock: FakeClock,
    *,
    token_verifier: FakeTokenVerifier | AcceptingTokenVerifier | None = None,
    tenants: FakeTenantStore | None = None,
) -> Authorizer:
    return Authorizer(
        keys=StaleKeyCache(store, clock=clock, max_stale=timedelta(minutes=5)),
        token_verifier=token_verifier,
        load_digest_key=lambda: DIGEST_KEY,
        clock=clock,
        tenants=tenants or FakeTenantStore(),
    )


@pytest.mark.parametrize("scheme", ["Bearer", "Token", "bearer", "TOKEN"])
def test_authorize_returns_principal_of_valid_key(scheme: str, clock: FakeClock) -> None:
    key, secret = make_key(allowed_models=("acme/one",), usage_key="usage")
    authorizer = make_authorizer(FakeKeyStore({key.id: key}), clock)
    caller = authorizer.authorize(f"{scheme} {secret}", SOURCE_IP)
    assert caller.principal == Principal("acme", key.id, frozenset(DEFAULT_SCOPES), ("acme/one",))
    assert caller.usage_key == "usage"


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
def test_authorize_rejects_header_without_credential(header: str, clock: FakeClock) -> None:
    key, secret = make_key()
    authorizer = make_authorizer(FakeKeyStore({key.id: key}), clock)
    with pytest.raises(UnauthenticatedError):
        authorizer.authorize(header.replace("{key}", str(secret)), SOURCE_IP)


@pytest.mark.parametrize(("length", "is_accepted"), [(8192, True), (8193, False), (1_000_000, False)])
def test_authorize_rejects_oversized_credential_unread(
    clock: FakeClock, length: int, *, is_accepted: bool
) -> None:
    authorizer = make_authorizer(FakeKeyStore(), clock, token_verifier=AcceptingTokenVerifier())
    header = "Bearer eyJ.e30." + "A" * (length - 8)
    if is_accepted:
        assert authorizer.authorize(header, SOURCE_IP).principal.key_id == f"jwt:{length}"
    else:
        with pytest.raises(UnauthenticatedError):
            authorizer.authorize(header, SOURCE_IP)


def test_authorize_rejects_unknown_wrong_and_revoked_keys(clock: FakeClock) -> None:
    key, secret = make_key()
    revoked_key, revoked_secret = make_key(revoked_at=NOW)
    authorizer = make_authorizer(FakeKeyStore({key.id: key, revoked_key.id: revoked_key}), clock)
    for bad_secret in (ApiKeySecret.generate(), ApiKeySecret.generate(key.id), revoked_secret):
        with pytest.raises(UnauthenticatedError):
            authorizer.authorize(f"Bearer {bad_secret}", SOURCE_IP)
    assert authorizer.authorize(f"Bearer {secret}", SOURCE_IP).principal.tenant == "acme"


def test_rejection_does_not_reveal_secret(clock: FakeClock) -> None:
    secret = ApiKeySecret.generate()
    with pytest.raises(UnauthenticatedError) as raised:
        make_authorizer(FakeKeyStore(), clock).authorize(f"Bearer {secret}", SOURCE_IP)
    assert secret.secret not in str(raised.value)


def test_authorize_denies_expired_key(clock: FakeClock) -> None:
    key, secret = make_key(expires_at=NOW + timedelta(minutes=1))
    authorizer = make_authorizer(FakeKeyStore({key.id: key}), clock)
    assert authorizer.authorize(f"Bearer {secret}", SOURCE_IP).principal.tenant == "acme"
    clock.advance(minutes=1)
    with pytest.raises(DeniedError, match="expired"):
        authorizer.authorize(f"Bearer {secret}", SOURCE_IP)


def test_authorize_denies_key_outside_its_ip_allow_list(clock: FakeClock) -> None:
    key, secret = make_key(allowed_ips=("203.0.113.0/24", "2001:db8::/32"))
    authorizer = make_authorizer(FakeKeyStore({key.id: key}), clock)
    for source_ip in (SOURCE_IP, "2001:db8::5"):
        assert authorizer.authorize(f"Bearer {secret}", source_ip).principal.tenant == "acme"
    for source_ip in ("198.51.100.1", "2001:db9::5", ""):
        with pytest.raises(DeniedError, match="address"):
            authorizer.authorize(f"Bearer {secret}", source_ip)


def test_last_use_is_recorded_at_most_once_an_hour(clock: FakeClock) -> None:
    key, secret = make_key()
    store = FakeKeyStore({key.id: key})
    authorizer = make_authorizer(store, clock)
    authorizer.authorize(f"Bearer {secret}", SOURCE_IP)
    clock.advance(minutes=59)
    authorizer.authorize(f"Bearer {secret}", SOURCE_IP)
    assert store.keys[key.id].last_used_at == NOW
    clock.advance(minutes=1)
    authorizer.authorize(f"Bearer {secret}", SOURCE_IP)
    assert store.keys[key.id].last_used_at == NOW + timedelta(hours=1)


def test_last_use_is_not_recorded_when_key_is_denied(clock: FakeClock) -> None:
    key, secret = make_key(allowed_ips=("10.0.0.0/8",))
    store = FakeKeyStore({key.id: key})
    with pytest.raises(DeniedError):
        make_authorizer(store, clock).authorize(f"Bearer {secret}", SOURCE_IP)
    assert store.keys[key.id].last_used_at is None


def test_cached_key_works_during_outage_until_max_stale(clock: FakeClock) -> None:
    key, secret = make_key()
    store = FakeKeyStore({key.id: key})
    authorizer = make_authorizer(store, clock)
    authorizer.authorize(f"Bearer {secret}", SOURCE_IP)
    store.is_unavailable = True
    clock.advance(minutes=5)
    assert authorizer.authorize(f"Bearer {secret}", SOURCE_IP).principal.tenant == "acme"
    clock.advance(seconds=1)
    with pytest.raises(RetryableError):
        authorizer.authorize(f"Bearer {secret}", SOURCE_IP)


def test_uncached_key_is_retryable_during_outage(clock: FakeClock) -> None:
    cached_key, cached_secret = make_key()
    other_key, other_secret = make_key()
    store = FakeKeyStore({cached_key.id: cached_key, other_key.id: other_key})
    authorizer = make_authorizer(store, clock)
    authorizer.authorize(f"Bearer {cached_secret}", SOURCE_IP)
    store.is_unavailable = True
    with pytest.raises(RetryableError):
        authorizer.authorize(f"Bearer {other_secret}", SOURCE_IP)


def test_secret_that_the_cached_key_does_not_have_is_retryable_during_outage(clock: FakeClock) -> None:
    key, secret = make_key()
    store = FakeKeyStore({key.id: key})
    authorizer = make_authorizer(store, clock)
    authorizer.authorize(f"Bearer {secret}", SOURCE_IP)
    store.keys[key.id], new_secret = rotate_key(key, DIGEST_KEY, now=NOW, overlap=timedelta(hours=1))
    store.is_unavailable = True

    for text in (new_secret, ApiKeySecret.generate(key.id)):
        with pytest.raises(RetryableError):
            authorizer.authorize(f"Bearer {text}", SOURCE_IP)
    assert authorizer.authorize(f"Bearer {secret}", SOURCE_IP).principal.tenant == "acme"


def test_key_seen_revoked_stays_revoked_during_outage(clock: FakeClock) -> None:
    key, secret = make_key()
    store = FakeKeyStore({key.id: key})
    authorizer = make_authorizer(store, clock)
    authorizer.authorize(f"Bearer {secret}", SOURCE_IP)
    store.keys[key.id] = replace(key, revoked_at=NOW)
    with pytest.raises(UnauthenticatedError):
        authorizer.authorize(f"Bearer {secret}", SOURCE_IP)
    store.is_unavailable = True
    with pytest.raises(UnauthenticatedError):
        authorizer.authorize(f"Bearer {secret}", SOURCE_IP)


def test_key_seen_deleted_is_removed_from_cache(clock: FakeClock) -> None:
    key, secret = make_key()
    store = FakeKeyStore({key.id: key})
    authorizer = make_authorizer(store, clock)
    authorizer.authorize(f"Bearer {secret}", SOURCE_IP)
    del store.keys[key.id]
    with pytest.raises(UnauthenticatedError):
        authorizer.authorize(f"Bearer {secret}", SOURCE_IP)
    store.is_unavailable = True
    with pytest.raises(RetryableError):
        authorizer.authorize(f"Bearer {secret}", SOURCE_IP)


def test_cached_key_expires_during_outage(clock: FakeClock) -> None:
    key, secret = make_key(expires_at=NOW + timedelta(minutes=2))
    store = FakeKeyStore({key.id: key})
    authorizer = make_authorizer(store, clock)
    authorizer.authorize(f"Bearer {secret}", SOURCE_IP)
    store.is_unavailable = True
    clock.advance(minutes=3)
    with pytest.raises(DeniedError):
        authorizer.authorize(f"Bearer {secret}", SOURCE_IP)


def test_token_is_verified_when_token_verifier_is_set(clock: FakeClock) -> None:
    authorizer = make_authorizer(FakeKeyStore(), clock, token_verifier=FakeTokenVerifier())
    caller = authorizer.authorize("Bearer eyJ.good.token", SOURCE_IP)
    assert caller.principal.key_id == "jwt:alice"
    assert caller.usage_key is None
    with pytest.raises(UnauthenticatedError):
        authorizer.authorize("Bearer eyJ.bad.token", SOURCE_IP)


def test_token_has_usage_key_of_its_tenant(clock: FakeClock) -> None:
    store = FakeTenantStore({"acme": Tenant("acme", usage_key="tenant-usage")})
    authorizer = make_authorizer(FakeKeyStore(), clock, token_verifier=FakeTokenVerifier(), tenants=store)
    assert authorizer.authorize("Bearer eyJ.good.token", SOURCE_IP).usage_key == "tenant-usage"
    store.tenants.clear()
    assert authorizer.authorize("Bearer eyJ.good.token", SOURCE_IP).usage_key is None


@pytest.mark.parametrize("token", ["eyAiYWxnIg.e30.x", "ew0KICAi.e30.x", "Cnsi.e30.x"])
def test_token_whose_header_begins_with_white_space_is_verified(clock: FakeClock, token: str) -> None:
    authorizer = make_authorizer(FakeKeyStore({}), clock, token_verifier=AcceptingTokenVerifier())
    assert authorizer.authorize(f"Bearer {token}", SOURCE_IP).principal.key_id == f"jwt:{len(token)}"


def test_authorize_denies_token_of_a_tenant_that_is_being_erased(clock: FakeClock) -> None:
    tenants = FakeTenantStore({"acme": Tenant("acme", erasing_since=NOW)})
    authorizer = make_authorizer(
        FakeKeyStore(), clock, token_verifier=AcceptingTokenVerifier(), tenants=tenants
    )
    with pytest.raises(DeniedError, match="being erased"):
        authorizer.authorize("Bearer eyJ.good.token", SOURCE_IP)
