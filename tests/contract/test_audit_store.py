"""The contract of AuditStore and AuditReader, for DynamoDB on the simulation's AWS and on moto."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from moto import mock_aws

from replicate_proxy.audit.model import AuditFilter, AuditIntent, AuditRecord, ChainHead, build_record
from replicate_proxy.aws.audit_store import DynamoAuditStore
from replicate_proxy.errors import ConflictError, DuplicateError
from tests.support.audit import build_audit_store
from tests.support.aws import AUDIT_TABLE, create_audit_table

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(params=["simulation", "moto"])
def store(request: pytest.FixtureRequest) -> Iterator[DynamoAuditStore]:
    if request.param == "simulation":
        yield build_audit_store()
        return
    with mock_aws():
        yield DynamoAuditStore(create_audit_table(), AUDIT_TABLE)


def make_intent(number: int, **changes: Any) -> AuditIntent:
    intent = AuditIntent(
        id=f"change-{number}",
        started_at=f"2026-01-31T09:30:{number:02d}.000Z",
        action="key.update",
        target=f"keys/{number}",
        tenant="acme",
        key_id="op",
        key_name="Olga",
        source="api",
        correlation_id="c",
        parameters="null",
        before='{"name": "old"}',
    )
    return replace(intent, **changes)


def make_record(store: DynamoAuditStore, intent: AuditIntent) -> AuditRecord:
    return build_record(
        intent, store.read_head(), now=intent.started_at, after="null", outcome="succeeded", error=""
    )


def append(store: DynamoAuditStore, *intents: AuditIntent) -> list[AuditRecord]:
    records = []
    for intent in intents:
        store.begin(intent)
        records.append(make_record(store, intent))
        store.append(records[-1])
    return records


def list_all(store: DynamoAuditStore, audit_filter: AuditFilter, limit: int) -> list[AuditRecord]:
    found: list[AuditRecord] = []
    position = None
    while True:
        page = store.list_records(audit_filter, before_position=position, limit=limit)
        assert len(page.records) <= limit
        found += page.records
        position = page.next_position
        if position is None:
            return found


def test_record_follows_the_head_and_closes_its_intent(store: DynamoAuditStore) -> None:
    assert store.read_head() == ChainHead()
    intent = make_intent(1)
    store.begin(intent)
    assert store.list_abandoned(before="2026-01-31T09:31", limit=10) == [intent]
    assert store.list_abandoned(before="2026-01-31T09:30", limit=10) == []

    record = make_record(store, intent)
    store.append(record)

    assert store.read_head() == ChainHead(1, record.at, record.hash)
    assert store.list_chain(after_position=None, limit=10) == [record]
    assert store.list_abandoned(before="2026-01-31T09:31", limit=10) == []


def test_only_one_of_two_records_follows_the_same_head(store: DynamoAuditStore) -> None:
    for number in (1, 2):
        store.begin(make_intent(number))
    first, second = (make_record(store, make_intent(number)) for number in (1, 2))
    store.append(first)

    with pytest.raises(ConflictError):
        store.append(second)
    store.append(make_record(store, make_intent(2)))

    chain = store.list_chain(after_position=None, limit=10)
    assert [record.sequence for record in chain] == [1, 2]
    assert chain[1].previous_hash == first.hash


def test_intent_has_one_record(store: DynamoAuditStore) -> None:
    append(store, make_intent(1))

    with pytest.raises(DuplicateError):
        store.append(make_record(store, make_intent(1)))

    assert store.read_head().sequence == 1


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
@pytest.mark.parametrize(
    ("criteria", "numbers"),
    [
        ({}, [6, 5, 4, 3, 2, 1]),
        ({"tenant": "globex"}, [6, 3]),
        ({"action": "key.revoke"}, [4, 2]),
        ({"key_id": "op-2"}, [6, 5, 4]),
        ({"target": "keys/3"}, [3]),
        ({"key_id": "op-2", "action": "key.revoke"}, [4]),
        ({"tenant": "globex", "action": "key.revoke"}, []),
        ({"since": "2026-01-31T09:30:03.000Z"}, [6, 5, 4, 3]),
        ({"since": "2026-01-31T09:30:02.000Z", "until": "2026-01-31T09:30:05.000Z"}, [4, 3, 2]),
        ({"tenant": "acme", "until": "2026-01-31T09:30:02.000Z"}, [1]),
        ({"since": "2026-02-01T00:00:00.000Z", "until": "2026-01-01T00:00:00.000Z"}, []),
    ],
)
def test_list_has_the_matching_records_newest_first(
    store: DynamoAuditStore, criteria: dict[str, str], numbers: list[int], limit: int
) -> None:
    append(
        store,
        *(
            make_intent(
                number,
                tenant="globex" if number % 3 == 0 else "acme",
                action="key.revoke" if number in {2, 4} else "key.update",
                key_id="op-2" if number > 3 else "op",
            )
            for number in range(1, 7)
        ),
    )

    found = list_all(store, AuditFilter(**criteria), limit)

    assert [record.sequence for record in found] == numbers


def test_page_of_rare_matches_ends_after_few_reads(store: DynamoAuditStore) -> None:
    append(store, make_intent(1, key_id="rare"), *(make_intent(number) for number in range(2, 15)))

    page = store.list_records(AuditFilter(tenant="acme", key_id="rare"), before_position=None, limit=1)
    assert [record.sequence for record in page.records] == [1]
    page = store.list_records(AuditFilter(tenant="acme", action="none"), before_position=None, limit=1)
    assert (page.records, page.next_position) == ((), page.next_position)


def test_chain_is_read_in_parts(store: DynamoAuditStore) -> None:
    records = append(store, *(make_intent(number) for number in range(1, 6)))

    first = store.list_chain(after_position=None, limit=2)
    rest = store.list_chain(after_position=f"{first[-1].at}#{first[-1].sequence:010d}", limit=10)

    assert [*first, *rest] == records
