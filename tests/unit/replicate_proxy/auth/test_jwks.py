"""The identity provider's keys: fetched rarely, refreshed on rotation, kept through an outage."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import jwt
import pytest
import requests
import responses
from cryptography.hazmat.primitives.asymmetric import rsa

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
    """Answers with its present keys, or not at all; counts."""

    def __init__(self) -> None:
        self.kids = ["k1"]
        self.asked = 0
        self.answer: Callable[[], tuple[int, dict[str, str], str]] = self.key_set

    def key_set(self) -> tuple[int, dict[str, str], str]:
        return 200, {}, json.dumps({"keys": [{**PUBLIC, "kid": kid, "use": "sig"} for kid in self.kids]})

    def __call__(self, _: Any) -> tuple[int, dict[str, str], str]:
        self.asked += 1
        return self.answer()

    def disappear(self) -> None:
        def nobody() -> tuple[int, dict[str, str], str]:
            raise requests.ConnectionError

        self.answer = nobody


@pytest.fixture
def provider() -> Any:
    found = Provider()
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        mock.add_callback(responses.GET, URL, callback=found)
        yield found


@pytest.fixture
def client(clock: FakeClock) -> JwksClient:
    settings = JwksSettings(
        URL, max_age_seconds=3600, min_refresh_interval_seconds=60, max_stale_seconds=7200
    )
    return JwksClient(settings, session=requests.Session(), clock=clock)


def test_keys_are_fetched_once_while_they_are_fresh(
    client: JwksClient, provider: Provider, clock: FakeClock
) -> None:
    for _ in range(3):
        assert client.get_signing_key("k1").key_id == "k1"
        clock.advance(minutes=20)
    assert provider.asked == 1
    clock.advance(minutes=1)
    client.get_signing_key("k1")
    assert provider.asked == 2


def test_a_new_key_is_found_when_a_token_names_it(
    client: JwksClient, provider: Provider, clock: FakeClock
) -> None:
    client.get_signing_key("k1")
    provider.kids = ["k1", "k2"]
    clock.advance(minutes=2)
    assert client.get_signing_key("k2").key_id == "k2"


def test_a_withdrawn_key_is_gone_with_the_next_fetch(
    client: JwksClient, provider: Provider, clock: FakeClock
) -> None:
    client.get_signing_key("k1")
    provider.kids = ["k2"]
    clock.advance(minutes=61)
    with pytest.raises(UnauthenticatedError):
        client.get_signing_key("k1")


def test_invented_key_ids_ask_the_provider_once_a_minute(
    client: JwksClient, provider: Provider, clock: FakeClock
) -> None:
    client.get_signing_key("k1")
    clock.advance(minutes=2)
    for number in range(100):
        with pytest.raises(UnauthenticatedError):
            client.get_signing_key(f"invented-{number}")
    assert provider.asked == 2


def test_known_keys_work_through_an_outage_for_the_grace_and_not_longer(
    client: JwksClient, provider: Provider, clock: FakeClock
) -> None:
    client.get_signing_key("k1")
    provider.disappear()
    clock.advance(minutes=119)
    assert client.get_signing_key("k1").key_id == "k1"
    clock.advance(minutes=2)
    with pytest.raises(RetryableError):
        client.get_signing_key("k1")


def test_an_unknown_key_cannot_be_judged_during_an_outage(
    client: JwksClient, provider: Provider, clock: FakeClock
) -> None:
    client.get_signing_key("k1")
    provider.disappear()
    clock.advance(minutes=2)
    with pytest.raises(RetryableError):
        client.get_signing_key("k2")


def test_after_an_outage_keys_are_fetched_again(
    client: JwksClient, provider: Provider, clock: FakeClock
) -> None:
    provider.disappear()
    with pytest.raises(RetryableError):
        client.get_signing_key("k1")
    provider.answer = provider.key_set
    with pytest.raises(RetryableError):
        client.get_signing_key("k1")  # not yet: at most one try a minute
    clock.advance(minutes=1)
    assert client.get_signing_key("k1").key_id == "k1"


@pytest.mark.parametrize(
    "answer",
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
    ],
)
def test_an_answer_that_is_no_key_set_counts_as_none(
    client: JwksClient, provider: Provider, answer: tuple[int, dict[str, str], str]
) -> None:
    provider.answer = lambda: answer
    with pytest.raises(RetryableError):
        client.get_signing_key("k1")


def test_encryption_keys_sign_nothing(client: JwksClient, provider: Provider) -> None:
    keys = [{**PUBLIC, "kid": "enc", "use": "enc"}, {**PUBLIC, "kid": "sig"}]
    provider.answer = lambda: (200, {}, json.dumps({"keys": keys}))
    assert client.get_signing_key("sig").key_id == "sig"
    with pytest.raises(UnauthenticatedError):
        client.get_signing_key("enc")


@pytest.mark.parametrize(
    "url",
    ["http://id.example/keys", "http://127.0.0.1:8080/keys", "https:///keys", "file:///keys", "id.example"],
)
def test_keys_come_over_tls_or_not_at_all(url: str) -> None:
    with pytest.raises(ConfigurationError):
        JwksSettings(url)


def test_loopback_is_for_the_local_stack_alone() -> None:
    JwksSettings("http://127.0.0.1:8080/keys", allow_loopback=True)
    for host in ("id.example", "127.0.0.1:8080@id.example", "127.0.0.1.id.example"):
        with pytest.raises(ConfigurationError):
            JwksSettings(f"http://{host}/keys", allow_loopback=True)
