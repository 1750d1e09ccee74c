"""The document of all model entries, on DynamoDB, and its cache."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from replicate_proxy.aws.control_table import ControlTable
from replicate_proxy.aws.model_entry_store import DynamoModelEntryStore
from replicate_proxy.errors import ConflictError, RetryableError
from replicate_proxy.jobs.model import FallbackCause
from replicate_proxy.model_entries.directory import ModelEntryDirectory
from replicate_proxy.model_entries.document import EntryDocument
from replicate_proxy.model_entries.entry import FallbackTarget, ModelEntry
from tests.support.aws import CONTROL_TABLE
from tests.support.model_entries import FakeModelEntryStore

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

ENTRY = ModelEntry(
    name="team/fast-image",
    target="black-forest-labs/flux-schnell",
    defaults={"guidance": 3.5, "": None},
    forced={"disable_safety_checker": False},
    allowed_tenants=("acme",),
    timeout_seconds=300,
    images={"format": "avif"},
    fallbacks=(FallbackTarget(target="acme/other", fields={"prompt": "text", "seed": None}),),
    fallback_on=(FallbackCause.TARGET_GONE, FallbackCause.QUEUE_TIME),
    fallback_after_seconds=30,
    price={"per_image": "0.003", "source": "https://replicate.com", "as_of": "2026-05-25"},
)


@pytest.fixture
def store(dynamodb: DynamoDBClient) -> DynamoModelEntryStore:
    return DynamoModelEntryStore(ControlTable(dynamodb, CONTROL_TABLE))


def test_document_is_empty_at_first(store: DynamoModelEntryStore) -> None:
    assert store.read() == EntryDocument({}, 0)


def test_entries_are_read_as_they_were_stored(store: DynamoModelEntryStore) -> None:
    stored = store.replace({ENTRY.name: ENTRY}, revision=0)

    assert stored == store.read() == EntryDocument({ENTRY.name: ENTRY}, 1)
    assert store.replace({}, revision=1) == EntryDocument({}, 2)


@pytest.mark.parametrize("revision", [0, 2])
def test_document_of_another_revision_is_not_replaced(store: DynamoModelEntryStore, revision: int) -> None:
    store.replace({ENTRY.name: ENTRY}, revision=0)

    with pytest.raises(ConflictError):
        store.replace({}, revision=revision)

    assert store.read().entries == {ENTRY.name: ENTRY}


def test_repeated_write_recognizes_its_own_effect(store: DynamoModelEntryStore) -> None:
    store.replace({ENTRY.name: ENTRY}, revision=0)

    assert store.replace({ENTRY.name: ENTRY}, revision=0).revision == 1


class UnreliableStore(FakeModelEntryStore):
    """Counts reads, and fails while it is `unavailable`."""

    reads = 0
    unavailable = False

    def read(self) -> EntryDocument:
        self.reads += 1
        if self.unavailable:
            raise RetryableError("the table is unavailable")
        return EntryDocument({ENTRY.name: ENTRY}, 1)


class TestDirectory:
    def build(self) -> tuple[ModelEntryDirectory, UnreliableStore, list[float]]:
        store, now = UnreliableStore(), [0.0]
        return ModelEntryDirectory(store, monotonic=lambda: now[0]), store, now

    def test_entries_are_read_again_within_a_minute(self) -> None:
        directory, store, now = self.build()

        assert [directory.find(name) for name in (ENTRY.name, "acme/other", None)] == [ENTRY, None, None]
        assert store.reads == 1
        now[0] = 60.0
        directory.find(ENTRY.name)
        assert store.reads == 2

    def test_entries_that_cannot_be_read_again_stay(self) -> None:
        directory, store, now = self.build()
        directory.find(ENTRY.name)
        now[0], store.unavailable = 59.0, True

        assert directory.find(ENTRY.name) == ENTRY

    def test_request_fails_if_the_entries_were_read_long_ago(self) -> None:
        directory, store, now = self.build()
        directory.find(ENTRY.name)
        now[0], store.unavailable = 60.0, True

        with pytest.raises(RetryableError):
            directory.find(ENTRY.name)

    def test_request_fails_if_the_entries_were_never_read(self) -> None:
        directory, store, _now = self.build()
        store.unavailable = True

        with pytest.raises(RetryableError):
            directory.find(ENTRY.name)
