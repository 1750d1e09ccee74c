"""JwksClient: caching, key rotation and outages of the identity provider."""

from __future__ import annotations

import json
import threading
import time
from typing import TYPE_CHECKING, Any

import jwt
import pytest
import requests
import responses
from cryptography.hazmat.primitives.asymmetric import rsa

from replicate_proxy.auth import tokens
from replicate_proxy.auth.errors import UnauthenticatedError
from replicate_proxy.auth.tokens import JwksClient, JwksSettings
from replicate_proxy.errors import ConfigurationError, RetryableError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.clock import FakeClock

URL = "https://id.example/keys"
PUBLIC = jwt.algorithms.RSAAlgorithm.to_jwk(
    rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key(), as_dict=True
)


class Provider:
    """An identity provider that counts the requests for its key set."""

    def __init__(self) -> None:
        self.kids = ["k1"]
        self.requests = 0
        self.respond: Callable[[], tuple[int, dict[str, str], str]] = self.respond_with_key_set

    def respond_with_key_set(self) -> tuple[int, dict[str, str], str]:
        return 200, {}, json.dumps({"keys": [{**PUBLIC, "kid": kid, "use": "sig"} for kid in self.kids]})

    def __call__(self, _: Any) -> tuple[int, dict[str, str], str]:
        self.requests += 1
        return self.respond()

    def fail(self) -> None:
        def refuse_connection() -> tuple[int, dict[str, str], str]:
            raise requests.ConnectionError

        self.respond = refuse_connection


@pytest.fixture
def provider() -> Any:
    provider = Provider()
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        mock.add_callback(responses.GET, URL, callback=provider)
        yield provider


@pytest.fixture
def client(clock: FakeClock) -> JwksClient:
    settings = JwksSettings(
        URL, max_age_seconds=3600, min_refresh_interval_seconds=60, max_stale_seconds=7200
    )
    return JwksClient(settings, session=requests.Session(), clock=clock)


def test_key_set_is_fetched_again_after_max_age(
    client: JwksClient, provider: Provider, clock: FakeClock
) -> None:
    for _ in range(3):
        assert client.get_signing_key("k1").key_id == "k1"
        clock.advance(minutes=20)
    assert provider.requests == 1
    clock.advance(minutes=1)
    client.get_signing_key("k1")
    assert provider.requests == 2


def test_unknown_key_id_refreshes_key_set(client: JwksClient, provider: Provider, clock: FakeClock) -> None:
    client.get_signing_key("k1")
    provider.kids = ["k1", "k2"]
    clock.advance(minutes=2)
    assert client.get_signing_key("k2").key_id == "k2"


def test_withdrawn_key_is_rejected_after_refresh(
    client: JwksClient, provider: Provider, clock: FakeClock
) -> None:
    client.get_signing_key("k1")
    provider.kids = ["k2"]
    clock.advance(minutes=61)
    with pytest.raises(UnauthenticatedError):
        client.get_signing_key("k1")


def test_unknown_key_ids_refresh_at_most_once_a_minute(
    client: JwksClient, provider: Provider, clock: FakeClock
) -> None:
    client.get_signing_key("k1")
    clock.advance(minutes=2)
    for number in range(100):
        with pytest.raises(UnauthenticatedError):
            client.get_signing_key(f"unknown-{number}")
    assert provider.requests == 2


def test_cached_key_works_during_outage_until_max_stale(
    client: JwksClient, provider: Provider, clock: FakeClock
) -> None:
    client.get_signing_key("k1")
    provider.fail()
    clock.advance(minutes=119)
    assert client.get_signing_key("k1").key_id == "k1"
    clock.advance(minutes=2)
    with pytest.raises(RetryableError):
        client.get_signing_key("k1")


def test_cached_key_works_while_provider_responds_too_slowly(
    client: JwksClient, provider: Provider, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each read, and each address of the host, has a timeout of its own."""
    client.get_signing_key("k1")
    released = threading.Event()

    def hang() -> tuple[int, dict[str, str], str]:
        released.wait(30)
        return provider.respond_with_key_set()

    provider.respond = hang
    monkeypatch.setattr(tokens, "_FETCH_SECONDS", 0.1)
    clock.advance(minutes=61)
    started_at = time.monotonic()
    assert client.get_signing_key("k1").key_id == "k1"
    assert time.monotonic() - started_at < 15
    released.set()
    for thread in threading.enumerate():
        if thread.name == "fetch-keys":
            thread.join(10)


def test_unknown_key_id_is_retryable_during_outage(
    client: JwksClient, provider: Provider, clock: FakeClock
) -> None:
    client.get_signing_key("k1")
    provider.fail()
    clock.advance(minutes=2)
    with pytest.raises(RetryableError):
        client.get_signing_key("k2")


def test_key_set_is_fetched_again_after_outage(
    client: JwksClient, provider: Provider, clock: FakeClock
) -> None:
    provider.fail()
    with pytest.raises(RetryableError):
        client.get_signing_key("k1")
    provider.respond = provider.respond_with_key_set
    with pytest.raises(RetryableError):
        client.get_signing_key("k1")  # at most one attempt a minute
    clock.advance(minutes=1)
    assert client.get_signing_key("k1").key_id == "k1"


@pytest.mark.parametrize(
    "response",
    [
        (500, {}, ""),
        (302, {"location": "https://evil.example/keys"}, ""),
        (200, {}, "not json"),
        (200, {}, '{"keys": []}'),
        (200, {}, "[]"),
        (200, {}, '{"keys": 5}'),
        (200, {}, '{"keys": [5]}'),
        (200, {}, '{"keys": [{"kty": "RSA", "n": 5}]}'),
        (200, {}, '{"keys": "' + "x" * 300_000 + '"}'),
        pytest.param((200, {}, "[" * 100_000), id="deep nesting"),
    ],
)
def test_response_that_is_not_a_key_set_is_retryable(
    client: JwksClient, provider: Provider, response: tuple[int, dict[str, str], str]
) -> None:
    provider.respond = lambda: response
    with pytest.raises(RetryableError):
        client.get_signing_key("k1")


@pytest.mark.parametrize("fields", [{"use": ["sig"]}, {"kid": ["k2"]}, {"kid": {}}, {"kid": 2}])
def test_key_with_odd_fields_does_not_hide_the_others(
    client: JwksClient, provider: Provider, fields: dict[str, Any]
) -> None:
    keys = [{**PUBLIC, "kid": "k2", "use": "sig", **fields}, {**PUBLIC, "kid": "k1"}]
    provider.respond = lambda: (200, {}, json.dumps({"keys": keys}))

    assert client.get_signing_key("k1").key_id == "k1"


def test_encryption_key_is_not_a_signing_key(client: JwksClient, provider: Provider) -> None:
    keys = [{**PUBLIC, "kid": "enc", "use": "enc"}, {**PUBLIC, "kid": "sig"}]
    provider.respond = lambda: (200, {}, json.dumps({"keys": keys}))
    assert client.get_signing_key("sig").key_id == "sig"
    with pytest.raises(UnauthenticatedError):
        client.get_signing_key("enc")


@pytest.mark.parametrize(
    "url",
    ["http://id.example/keys", "http://127.0.0.1:8080/keys", "https:///keys", "file:///keys", "id.example"],
)
def test_settings_reject_url_without_tls(url: str) -> None:
    with pytest.raises(ConfigurationError):
        JwksSettings(url)


def test_settings_accept_loopback_only_when_allowed() -> None:
    JwksSettings("http://127.0.0.1:8080/keys", allow_loopback=True)
    for host in ("id.example", "127.0.0.1:8080@id.example", "127.0.0.1.id.example"):
        with pytest.raises(ConfigurationError):
            JwksSettings(f"http://{host}/keys", allow_loopback=True)
