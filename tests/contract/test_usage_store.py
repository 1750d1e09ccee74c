"""The contract of UsageStore, for DynamoDB on the simulation's AWS and on moto."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from moto import mock_aws

from replicate_proxy.errors import ConflictError, RetryableError
from replicate_proxy.usage.model import EndedJob, UsageCounts
from tests.support.aws import USAGE_TABLE, create_usage_table, make_client_error, make_failing_client
from tests.support.clock import NOW
from tests.support.usage import DynamoUsage, build_usage_store, make_ended_job

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(params=["simulation", "moto"])
def store(request: pytest.FixtureRequest) -> Iterator[DynamoUsage]:
    if request.param == "simulation":
        yield build_usage_store(max_entries=3)
        return
    with mock_aws():
        yield DynamoUsage(create_usage_table(), USAGE_TABLE, max_entries=3)


def test_jobs_are_added_to_their_entries(store: DynamoUsage) -> None:
    jobs = [EndedJob.from_job(make_ended_job(micro_usd=micro_usd)) for micro_usd in (3000, 40, None)]
    for job in jobs:
        assert store.register(job.entry.key)

    store.count(jobs[:2], now=NOW)
    store.count(jobs[2:], now=NOW)

    (entry,) = store.list_entries("acme", "2026-01-31", "2026-01-31")
    assert entry.key == jobs[0].entry.key
    assert entry.counts == UsageCounts(succeeded=3, cost_micro_usd=3040, unknown_costs=1)


def test_jobs_are_counted_all_or_none(store: DynamoUsage) -> None:
    first, second = (EndedJob.from_job(make_ended_job()) for _ in range(2))
    store.count([first], now=NOW)

    with pytest.raises(ConflictError):
        store.count([second, first], now=NOW)

    assert store.find_counted([first, second]) == {(first.tenant, first.id)}
    (entry,) = store.list_entries("acme", "2026-01-31", "2026-01-31")
    assert entry.counts.jobs == 1


def test_entry_that_two_workers_register_at_once_keeps_its_counts(
    store: DynamoUsage, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = EndedJob.from_job(make_ended_job())
    assert store.register(job.entry.key)
    store.count([job], now=NOW)
    has_entry = store._has_entry
    reads = iter([False])  # before the other worker has registered it
    monkeypatch.setattr(store, "_has_entry", lambda key: next(reads, True) and has_entry(key))

    assert store.register(job.entry.key)

    (entry,) = store.list_entries("acme", "2026-01-31", "2026-01-31")
    assert entry.counts.jobs == 1


def test_day_has_no_more_entries_than_allowed(store: DynamoUsage) -> None:
    keys = [EndedJob.from_job(make_ended_job(model=f"acme/{name}")).entry.key for name in "abcd"]

    assert [store.register(key) for key in keys] == [True, True, True, False]
    assert [store.register(key) for key in keys] == [True, True, True, False]
    other_day = EndedJob.from_job(make_ended_job(model="acme/d", days=1)).entry.key
    assert store.register(other_day)


def test_lists_have_the_days_and_tenants_asked_for(store: DynamoUsage) -> None:
    for tenant, days in (("acme", 0), ("acme", 1), ("acme", 2), ("acme-2", 1), ("globex", 1)):
        store.count([EndedJob.from_job(make_ended_job(tenant=tenant, days=days))], now=NOW)

    own = store.list_entries("acme", "2026-02-01", "2026-02-02")
    assert [(entry.key.tenant, entry.key.day) for entry in own] == [
        ("acme", "2026-02-01"),
        ("acme", "2026-02-02"),
    ]
    of_all = store.list_all_entries("2026-02-01")
    assert sorted(entry.key.tenant for entry in of_all) == ["acme", "acme-2", "globex"]


def test_conflict_of_transactions_is_retryable() -> None:
    store = DynamoUsage(make_failing_client(make_client_error("TransactionConflict")), USAGE_TABLE)

    with pytest.raises(RetryableError):
        store.count([EndedJob.from_job(make_ended_job())], now=NOW)
