"""The key store's contract, kept by DynamoDB and by the fake that other tests use."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError, ConnectTimeoutError

from replicate_proxy.aws.key_store import DynamoKeyStore
from replicate_proxy.errors import ConflictError, DuplicateError, PermanentError, RetryableError
from tests.support.access import TABLE, FakeKeyStore, make_key
from tests.support.clock import NOW

if TYPE_CHECKING:
    from replicate_proxy.auth.ports import KeyStore


@pytest.fixture(params=["dynamodb", "fake"])
def store(request: pytest.FixtureRequest) -> KeyStore:
    if request.param == "fake":
        return FakeKeyStore()
    return DynamoKeyStore(request.getfixturevalue("dynamodb"), TABLE)


def test_a_created_key_is_found_by_its_id(store: KeyStore) -> None:
    key, _ = make_key(name="one")
    store.create(key)
    assert store.get(key.id) == key
    assert store.get("aaaaaaaaaaaa") is None


def test_an_id_cannot_be_taken_twice(store: KeyStore) -> None:
    key, _ = make_key()
    store.create(key)
    with pytest.raises(DuplicateError):
        store.create(replace(key, tenant="intruder"))
    assert store.get(key.id) == key


def test_a_change_needs_the_digest_it_was_made_from(store: KeyStore) -> None:
    key, _ = make_key()
    store.create(key)
    store.replace(replace(key, digest="1" * 64), expected_digest=key.digest)
    with pytest.raises(ConflictError):
        store.replace(replace(key, digest="2" * 64), expected_digest=key.digest)
    found = store.get(key.id)
    assert found is not None
    assert found.digest == "1" * 64


def test_a_revoked_key_cannot_be_changed_back(store: KeyStore) -> None:
    key, _ = make_key()
    store.create(key)
    store.replace(replace(key, revoked_at=NOW), expected_digest=key.digest)
    with pytest.raises(ConflictError):
        store.replace(key, expected_digest=key.digest)


def test_an_unknown_key_cannot_be_changed_or_touched(store: KeyStore) -> None:
    key, _ = make_key()
    with pytest.raises(ConflictError):
        store.replace(key, expected_digest=key.digest)
    with pytest.raises(ConflictError):
        store.record_use(key.id, NOW)
    assert store.get(key.id) is None


def test_touching_changes_the_last_use_alone(store: KeyStore) -> None:
    key, _ = make_key()
    store.create(key)
    store.record_use(key.id, NOW)
    assert store.get(key.id) == replace(key, last_used_at=NOW)


def test_keys_are_listed_oldest_first_and_by_tenant(store: KeyStore) -> None:
    old, _ = make_key()
    young, _ = make_key(created_at=NOW + timedelta(hours=1))
    other, _ = make_key(tenant="globex", created_at=NOW + timedelta(hours=2))
    for key in (other, young, old):
        store.create(key)
    assert store.list() == [old, young, other]
    assert store.list(tenant="globex") == [other]
    assert store.list(tenant="nobody") == []


class _Failing:
    def __init__(self, error: Exception) -> None:
        self._error = error

    def get_item(self, **_: Any) -> Any:
        raise self._error


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ConnectTimeoutError(endpoint_url="https://x"), RetryableError),
        (ClientError({"Error": {"Code": "ThrottlingException"}}, "GetItem"), RetryableError),
        (ClientError({"Error": {"Code": "AccessDeniedException"}}, "GetItem"), PermanentError),
    ],
)
def test_failures_say_whether_to_try_again(error: Exception, expected: type[Exception]) -> None:
    with pytest.raises(expected):
        DynamoKeyStore(_Failing(error), TABLE).get("aaaaaaaaaaaa")
