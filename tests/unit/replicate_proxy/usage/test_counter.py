"""Ended jobs are counted once, whatever the stream repeats and whatever fails in between."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from replicate_proxy.aws.usage_store import DynamoBatchCounts
from replicate_proxy.batches.model import BatchCounts
from replicate_proxy.errors import PermanentError, RetryableError
from replicate_proxy.jobs.model import JobStatus, Reservation
from replicate_proxy.usage.counter import UsageCounter, _group
from replicate_proxy.usage.model import OTHER, EndedJob, UsageCounts, UsageKey
from replicate_proxy.webhooks.model import JobChange
from tests.support.aws import USAGE_TABLE
from tests.support.builders import make_job
from tests.support.clock import FakeClock
from tests.support.usage import build_usage_store, make_change, make_ended_job

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.support.usage import DynamoUsage

DAY = "2026-01-31"


@pytest.fixture
def store() -> DynamoUsage:
    return build_usage_store(max_entries=2)


@pytest.fixture
def counter(store: DynamoUsage) -> UsageCounter:
    return make_counter(store)


def make_counter(store: DynamoUsage) -> UsageCounter:
    clock = FakeClock()
    return UsageCounter(store, clock, clock.sleep)


def sum_counts(store: DynamoUsage) -> UsageCounts:
    return sum((entry.counts for entry in store.list_entries("acme", DAY, DAY)), UsageCounts())


def test_ends_are_counted_and_other_changes_are_not(store: DynamoUsage, counter: UsageCounter) -> None:
    ended = [make_ended_job(status) for status in (JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELED)]
    running = make_job(JobStatus.PROCESSING)
    changes = [JobChange(None, running), *map(make_change, ended), JobChange(ended[0], ended[0])]

    assert counter.count(changes) is None

    assert sum_counts(store) == UsageCounts(succeeded=1, failed=1, canceled=1, cost_micro_usd=9000)


def test_repeated_batch_counts_nothing_twice(store: DynamoUsage, counter: UsageCounter) -> None:
    changes = [make_change(make_ended_job()) for _ in range(20)]
    assert counter.count(changes[:7]) is None

    assert counter.count([*changes, *changes[3:5]]) is None
    assert make_counter(store).count(changes) is None

    assert sum_counts(store).jobs == 20


def test_job_that_is_restored_from_a_backup_is_not_counted_again(
    store: DynamoUsage, counter: UsageCounter
) -> None:
    """Marks of counted jobs expire after a week, and jobs are kept for longer."""
    reservation = Reservation(5000, ("TENANT#2026-01",))

    assert counter.count([JobChange(None, make_ended_job(reservation=reservation))]) is None

    assert sum_counts(store) == UsageCounts()


def test_models_beyond_the_limit_of_a_day_are_counted_together(
    store: DynamoUsage, counter: UsageCounter
) -> None:
    for model in ("acme/a", "acme/b", "acme/c", "acme/d", "acme/a"):
        assert counter.count([make_change(make_ended_job(model=model))]) is None

    entries = store.list_entries("acme", DAY, DAY)
    assert [(entry.key.model, entry.counts.jobs) for entry in entries] == [
        ("acme/a", 2),
        ("acme/b", 1),
        (OTHER, 2),
    ]


def test_conflict_of_transactions_is_tried_again(
    store: DynamoUsage, counter: UsageCounter, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = iter([RetryableError("TransactionConflict")] * 3)
    count = store.count

    def fail_first(*arguments: object, **options: object) -> None:
        error = next(failures, None)
        if error is not None:
            raise error
        count(*arguments, **options)  # type: ignore[arg-type]  # passed on as they are

    monkeypatch.setattr(store, "count", fail_first)

    assert counter.count([make_change(make_ended_job())]) is None
    assert sum_counts(store).jobs == 1


def test_change_that_cannot_be_counted_is_returned(
    store: DynamoUsage, counter: UsageCounter, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RetryableError("unavailable")

    monkeypatch.setattr(store, "count", fail)
    running = JobChange(None, make_job(JobStatus.PROCESSING))

    assert counter.count([running, make_change(make_ended_job())]) == 1


@pytest.mark.parametrize("operation", ["register", "count"])
def test_job_that_cannot_be_counted_does_not_keep_others_from_it(
    store: DynamoUsage, counter: UsageCounter, monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    # Given the fifth of forty jobs, which DynamoDB refuses for good
    changes = [make_change(make_ended_job()) for _ in range(40)]
    refused = make_ended_job(model="refused")
    changes[4] = make_change(refused)
    original = getattr(store, operation)

    def refuse(subject: UsageKey | Sequence[EndedJob], **options: object) -> object:
        keys = [subject] if isinstance(subject, UsageKey) else [job.entry.key for job in subject]
        if any(key.model == "refused" for key in keys):
            raise PermanentError("ValidationException")
        return original(subject, **options)

    monkeypatch.setattr(store, operation, refuse)

    # Then the stream delivers it again, and counts each of the others once
    assert counter.count(changes) == 4
    assert counter.count(changes[4:]) == 0
    assert sum_counts(store).jobs == 39


def test_first_change_of_a_group_that_failed_is_returned_when_a_change_is_repeated(
    store: DynamoUsage, counter: UsageCounter, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RetryableError("unavailable")

    monkeypatch.setattr(store, "count", fail)
    changes = [make_change(make_ended_job()) for _ in range(3)]

    assert counter.count([*changes, changes[0]]) == 1


def test_name_of_many_bytes_is_cut_to_fit_into_a_key(store: DynamoUsage, counter: UsageCounter) -> None:
    job = make_ended_job(model="模" * 200, key_id="jwt:" + "鍵" * 200)

    assert counter.count([make_change(job)]) is None

    (entry,) = store.list_entries("acme", DAY, DAY)
    assert (entry.key.model, entry.key.key_id) == ("模" * 66, "jwt:" + "鍵" * 65)


def test_ends_of_large_batches_are_counted_by_batch_within_the_size_of_a_transaction(
    store: DynamoUsage, counter: UsageCounter
) -> None:
    jobs = [make_ended_job(batch_id=f"b{number % 7}", batch_line=number) for number in range(40)]
    jobs.append(make_ended_job(JobStatus.FAILED, batch_id="b0", batch_line=41, micro_usd=None))
    jobs.append(make_ended_job(batch_id="inline"))
    changes = list(map(make_change, jobs))
    assert counter.count(changes[:15]) is None
    assert make_counter(store).count(changes) is None

    counts = DynamoBatchCounts(store._client, USAGE_TABLE)
    assert counts.read_counts("acme", "b0") == BatchCounts(
        succeeded=6, failed=1, cost_micro_usd=18000, unknown_costs=1
    )
    assert sum(counts.read_counts("acme", f"b{number}").ended for number in range(7)) == 41
    assert counts.read_counts("acme", "inline").ended == counts.read_counts("globex", "b0").ended == 0


def test_transaction_has_at_most_four_large_batches() -> None:
    jobs = [
        (number, EndedJob.from_job(make_ended_job(batch_id=f"b{number}", batch_line=1)))
        for number in range(9)
    ]
    assert [len(group) for group in _group(jobs)] == [4, 4, 1]
    assert [len(group) for group in _group([(0, jobs[0][1])] * 20)] == [16, 4]
