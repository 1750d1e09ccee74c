"""The contract of BulkStore, for DynamoDB on the simulation's AWS and on moto."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from moto import mock_aws

from replicate_proxy.audit.model import AuditSource
from replicate_proxy.aws.bulk_marks import BulkMarks
from replicate_proxy.aws.bulk_store import DynamoBulkStore
from replicate_proxy.errors import ConflictError, NotFoundError
from replicate_proxy.ids import generate_id
from replicate_proxy.jobs.job_filter import JobFilter
from replicate_proxy.jobs.model import EndReason, JobStatus
from replicate_proxy.operations.bulk.model import (
    BulkAction,
    BulkOperation,
    BulkStatus,
    JobKey,
    JobOutcome,
    JobResult,
    ReasonCount,
)
from tests.support.aws import JOBS_TABLE, create_in_memory_aws, create_jobs_table
from tests.support.clock import NOW, FakeClock

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(params=["simulation", "moto"])
def client(request: pytest.FixtureRequest) -> Iterator[Any]:
    if request.param == "simulation":
        yield create_in_memory_aws().client("dynamodb")
        return
    with mock_aws():
        yield create_jobs_table()


@pytest.fixture
def store(client: Any, clock: FakeClock) -> DynamoBulkStore:
    return DynamoBulkStore(client, JOBS_TABLE, clock, retention_days=30)


def make_operation(**fields: Any) -> BulkOperation:
    defaults: dict[str, Any] = {
        "id": generate_id(fields.get("started_at", NOW)),
        "list_id": generate_id(NOW),
        "action": BulkAction.RETRY,
        "filter": JobFilter(
            statuses=frozenset({JobStatus.FAILED, JobStatus.CANCELED}),
            tenant="acme",
            model="acme/flux",
            key_id="k2m4q6s8u0w2",
            batch_id="01kg9p6je0hmrb3gncnng6q4dp",
            metadata={"order": "42", "user": "a = b"},
            end_reason=EndReason.NO_CREDIT,
            created_after=NOW - timedelta(days=1),
            created_before=NOW,
        ),
        "matched": 2,
        "started_at": NOW,
        "key_id": "op",
        "source": AuditSource.CONSOLE,
        "correlation_id": "c-1",
    }
    return BulkOperation(**{**defaults, **fields})


def make_keys(count: int) -> list[JobKey]:
    return [JobKey("acme", generate_id(NOW)) for _ in range(count)]


def test_operation_is_read_as_it_was_stored(store: DynamoBulkStore) -> None:
    keys = make_keys(2)
    operation = make_operation()

    created = store.create(operation, keys)
    results = [JobResult(keys[0], JobOutcome.DONE), JobResult(keys[1], JobOutcome.FAILED, "Budget exceeded")]
    saved = store.replace(created.record(results, tries=1))

    assert created == replace(operation, revision=1)
    assert (saved.revision, saved.position, saved.done, saved.failed) == (2, 2, 1, 1)
    assert store.get(operation.id) == saved
    ended = store.replace(saved.end(BulkStatus.FAILED, NOW, by="other", error="stopped"))
    assert store.get(operation.id) == ended
    assert store.get(generate_id(NOW)) is None


def test_filter_without_criteria_stays_empty(store: DynamoBulkStore) -> None:
    created = store.create(make_operation(filter=JobFilter(tenant="acme")), make_keys(1))

    assert store.get(created.id) == created


def test_replace_of_another_revision_conflicts(store: DynamoBulkStore) -> None:
    created = store.create(make_operation(), make_keys(2))
    store.replace(created.record([]))

    with pytest.raises(ConflictError):
        store.replace(created.end(BulkStatus.CANCELED, NOW))
    with pytest.raises(ConflictError):
        store.create(created, make_keys(1))


def test_jobs_are_listed_from_the_position_across_parts(store: DynamoBulkStore) -> None:
    keys = make_keys(2_500)
    operation = store.create(make_operation(matched=len(keys)), keys)

    listed: list[JobKey] = []
    while len(listed) < len(keys):
        part = store.list_jobs(replace(operation, position=len(listed)), 300)
        assert 0 < len(part) <= 300
        listed += part

    assert listed == keys
    with pytest.raises(NotFoundError):
        store.list_jobs(replace(operation, list_id="other"), 10)


def test_operations_are_listed_newest_first(store: DynamoBulkStore) -> None:
    ids = [
        store.create(make_operation(started_at=NOW + timedelta(seconds=number)), make_keys(1)).id
        for number in range(3)
    ]

    assert [each.id for each in store.list_newest(before_id=None, limit=2)] == ids[:0:-1]
    assert [each.id for each in store.list_newest(before_id=ids[1], limit=2)] == ids[:1]


def test_page_of_operations_with_long_reports_is_full(store: DynamoBulkStore) -> None:
    # DynamoDB returns at most 1 MB at once.
    samples = tuple(JobKey("t" * 63, generate_id(NOW)) for _ in range(10))
    reasons = tuple(ReasonCount(JobOutcome.FAILED, f"reason {number}", 10, samples) for number in range(20))
    ids = [
        store.create(make_operation(started_at=NOW + timedelta(seconds=number), reasons=reasons), []).id
        for number in range(70)
    ]

    assert [each.id for each in store.list_newest(before_id=None, limit=65)] == ids[:4:-1]
    assert [each.id for each in store.list_newest(before_id=ids[5], limit=65)] == ids[4::-1]


def test_running_operations_are_marked_until_they_end(
    store: DynamoBulkStore, client: Any, clock: FakeClock
) -> None:
    marks = BulkMarks(client, JOBS_TABLE)
    first, second = (
        store.create(make_operation(started_at=NOW + timedelta(seconds=number)), make_keys(1))
        for number in range(2)
    )
    # A start that ended between its mark and its operation.
    marks.add(generate_id(NOW), 0)
    # The end of an operation whose mark could not be removed.
    store.replace(second.end(BulkStatus.SUCCEEDED, NOW))
    marks.add(second.id, 0)

    assert [each.id for each in store.list_running()] == [first.id]
    assert len(marks.list_ids()) == 2
    clock.advance(hours=2)
    store.list_running()
    assert marks.list_ids() == [first.id]
    store.replace(first.end(BulkStatus.CANCELED, NOW))
    assert marks.list_ids() == []


def test_running_operation_is_found_behind_many_starts_that_have_failed(
    store: DynamoBulkStore, client: Any
) -> None:
    marks = BulkMarks(client, JOBS_TABLE)
    for number in range(25):
        marks.add(generate_id(NOW + timedelta(seconds=number)), 0)
    later = [store.create(make_operation(started_at=NOW + timedelta(minutes=1)), []).id for _ in range(25)]

    assert [each.id for each in store.list_running()] == sorted(later)[:20]


def test_items_are_in_no_index_of_jobs_and_expire(store: DynamoBulkStore, client: Any) -> None:
    operation = store.create(make_operation(), make_keys(1))

    items = [
        item
        for key in ("BULK", "BULK#RUNNING", f"BULK#JOBS#{operation.list_id}")
        for item in client.query(
            TableName=JOBS_TABLE,
            KeyConditionExpression="pk = :pk",
            ExpressionAttributeValues={":pk": {"S": key}},
        )["Items"]
    ]

    assert len(items) == 3
    expiry = str(int((NOW + timedelta(days=30)).timestamp()))
    indexed = {"tenant", "list_name", "due_shard", "outcome"}
    for item in items:
        assert item["expires_at"] == {"N": expiry}
        assert not indexed & set(item)
