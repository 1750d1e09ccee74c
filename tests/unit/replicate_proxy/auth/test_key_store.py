"""The KeyStore contract, for DynamoDB and for the fake that other tests use."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from botocore.exceptions import ConnectTimeoutError

from replicate_proxy.aws.key_store import DynamoKeyStore
from replicate_proxy.errors import ConflictError, DuplicateError, PermanentError, RetryableError
from tests.support.access import FakeKeyStore, make_key
from tests.support.aws import ACCESS_TABLE, make_client_error, make_failing_client
from tests.support.clock import NOW

if TYPE_CHECKING:
    from replicate_proxy.auth.ports import KeyStore


@pytest.fixture(params=["dynamodb", "fake"])
def store(request: pytest.FixtureRequest) -> KeyStore:
    if request.param == "fake":
        return FakeKeyStore()
    return DynamoKeyStore(request.getfixturevalue("dynamodb"), ACCESS_TABLE)


def test_get_returns_created_key(store: KeyStore) -> None:
    key, _ = make_key(name="one")
    store.create(key)
    assert store.get(key.id) == key
    assert store.get("aaaaaaaaaaaa") is None


def test_create_rejects_existing_id(store: KeyStore) -> None:
    key, _ = make_key()
    store.create(key)
    with pytest.raises(DuplicateError):
        store.create(replace(key, tenant="globex"))
    assert store.get(key.id) == key


def test_save_requires_expected_revision(store: KeyStore) -> None:
    key, _ = make_key()
    store.create(key)
    saved = store.save(replace(key, name="first"))
    with pytest.raises(ConflictError):
        store.save(replace(key, allowed_ips=("10.0.0.0/8",)))
    assert store.get(key.id) == saved == replace(key, name="first", revision=1)


def test_save_removes_cleared_fields_and_keeps_last_use(store: KeyStore) -> None:
    key, _ = make_key(expires_at=NOW)
    store.create(key)
    store.record_use(key.id, NOW)
    store.save(replace(key, expires_at=None))
    assert store.get(key.id) == replace(key, expires_at=None, last_used_at=NOW, revision=1)


def test_save_and_record_use_reject_unknown_key(store: KeyStore) -> None:
    key, _ = make_key()
    with pytest.raises(ConflictError):
        store.save(key)
    with pytest.raises(ConflictError):
        store.record_use(key.id, NOW)
    assert store.get(key.id) is None


def test_record_use_changes_only_last_use(store: KeyStore) -> None:
    key, _ = make_key()
    store.create(key)
    store.record_use(key.id, NOW)
    assert store.get(key.id) == replace(key, last_used_at=NOW)


def test_list_returns_keys_oldest_first_and_filters_by_tenant(store: KeyStore) -> None:
    old, _ = make_key()
    newer, _ = make_key(created_at=NOW + timedelta(hours=1))
    other, _ = make_key(tenant="globex", created_at=NOW + timedelta(hours=2))
    for key in (other, newer, old):
        store.create(key)
    assert store.list() == [old, newer, other]
    assert store.list(tenant="globex") == [other]
    assert store.list(tenant="unknown") == []


@pytest.mark.parametrize(
    ("error", "expected_class"),
    [
        (ConnectTimeoutError(endpoint_url="https://x"), RetryableError),
        (make_client_error("ThrottlingException"), RetryableError),
        (make_client_error("AccessDeniedException"), PermanentError),
    ],
)
def test_get_translates_aws_errors(error: Exception, expected_class: type[Exception]) -> None:
    with pytest.raises(expected_class):
        DynamoKeyStore(make_failing_client(error), ACCESS_TABLE).get("aaaaaaaaaaaa")
