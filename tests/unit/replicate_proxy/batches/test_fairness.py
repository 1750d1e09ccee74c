"""Jobs of large batches leave slots, and places in line, to others; and end once their batch is canceled."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from replicate_proxy.aws.control_table import ControlTable
from replicate_proxy.aws.line_store import DynamoLineStore
from replicate_proxy.batches.canceled import CanceledBatches
from replicate_proxy.concurrency.model import WaitingJob
from replicate_proxy.errors import RetryableError
from replicate_proxy.jobs.model import JobStatus, WaitReason
from replicate_proxy.replicate_api.predictions import UpstreamPredictionWriter
from replicate_proxy.replicate_api.rate_limit import RateLimit, RateLimiter
from tests.support.aws import CONTROL_TABLE, JOBS_TABLE, create_in_memory_aws
from tests.support.batches import TENANT, LargeBatches, make_lines
from tests.support.builders import make_job
from tests.support.clock import FakeClock
from tests.support.pipeline import Pipeline

LIMIT = RateLimit(per_minute=600, burst=10)
RESERVE = 4


class ClosedBreaker:
    def raise_if_open(self) -> None:
        return None


class Slots:
    """The slots of one rate limit for single jobs and for those of batches."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        table = ControlTable(create_in_memory_aws().client("dynamodb"), CONTROL_TABLE)
        self.single = RateLimiter(table, "creates", LIMIT, self.clock)
        self.batched = RateLimiter(table, "creates", LIMIT, self.clock, reserve=RESERVE)
        unused: Any = None
        breaker: Any = ClosedBreaker()
        self.slept: list[float] = []
        self.writer = UpstreamPredictionWriter(unused, breaker, self.single, self.batched, self.sleep)

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.clock.advance(seconds)


def test_batches_leave_slots_to_single_jobs() -> None:
    slots = Slots()
    taken = 0
    while slots.batched.acquire_slot() == 0:
        taken += 1
    assert taken == LIMIT.burst - RESERVE
    assert [slots.single.acquire_slot() for _ in range(RESERVE)] == [0.0] * RESERVE
    assert slots.single.acquire_slot() > 0


def test_single_jobs_do_not_wait_behind_rejected_ones_of_batches() -> None:
    slots = Slots()
    while slots.batched.acquire_slot() == 0:
        pass
    waits = [slots.batched.acquire_slot() for _ in range(100)]
    assert waits[-1] > 9, "rejected ones come back one after the other"
    for _ in range(RESERVE):
        slots.single.acquire_slot()
    assert slots.single.acquire_slot() <= 0.1


def test_job_of_a_batch_waits_for_its_slot_without_going_back_to_the_queue() -> None:
    slots = Slots()
    assert [slots.writer.acquire_batch_slot() for _ in range(30)] == [None] * 30
    assert sum(slots.slept) == pytest.approx((30 - LIMIT.burst + RESERVE) * 0.1, abs=0.2)


def test_job_of_a_batch_goes_back_if_the_wait_is_long() -> None:
    slots = Slots()
    slots.single.reduce_limit(1, for_seconds=120)
    delay = slots.writer.acquire_batch_slot()
    assert delay is not None
    assert (delay.reason, slots.slept) == (WaitReason.RATE_LIMIT, [])


def test_jobs_of_batches_come_last_in_a_line() -> None:
    store = DynamoLineStore(create_in_memory_aws().client("dynamodb"), JOBS_TABLE)
    early = make_job(batch_id="b", batch_line=1)
    late = make_job(created_at=early.created_at)
    early, late = sorted([early, late], key=lambda job: job.id)
    batched = WaitingJob.from_job(replace(early, batch_id="b", batch_line=1))
    single = WaitingJob.from_job(replace(late, batch_id=None, batch_line=None))
    for job in (batched, single):
        store.insert("tenant/acme", job)

    assert store.list_jobs_in_line("tenant/acme", 10) == [single, batched]
    assert store.count_ahead("tenant/acme", batched.position, at_most=10) == 1
    assert store.count_ahead("tenant/acme", single.position, at_most=10) == 0
    store.delete_jobs("tenant/acme", [batched, single])
    assert store.list_jobs_in_line("tenant/acme", 10) == []


def test_dispatch_ends_jobs_of_a_canceled_batch_and_sends_no_other() -> None:
    pipeline = Pipeline()
    batched = pipeline.accept_job("of a batch").job
    other = pipeline.accept_job("another").job
    stored = pipeline.store.jobs[batched.tenant, batched.id]
    pipeline.store.put(replace(stored, batch_id="b1", batch_line=7))
    pipeline.dispatcher._is_batch_canceled = lambda _tenant, batch_id: batch_id == "b1"

    pipeline.drain_messages()

    assert pipeline.store.jobs[batched.tenant, batched.id].status is JobStatus.CANCELED
    assert pipeline.store.jobs[other.tenant, other.id].status is JobStatus.SUBMITTED
    assert len(pipeline.replicate.predictions) == 1


def test_cancel_of_a_batch_is_read_every_few_seconds() -> None:
    batches, reads = LargeBatches(), 0
    batch = batches.create(make_lines(1))

    class Store:
        def get(self, tenant: str, batch_id: str) -> object:
            nonlocal reads
            reads += 1
            if reads == 1:
                raise RetryableError("throttled")
            return batches.store.get(tenant, batch_id)

    store: Any = Store()
    canceled = CanceledBatches(store, monotonic=batches.clock.monotonic)
    assert [canceled.is_canceled(TENANT, batch.id) for _ in range(3)] == [False] * 3
    assert reads == 2
    batches.service.cancel(TENANT, batch.id)
    assert not canceled.is_canceled(TENANT, batch.id)
    batches.clock.advance(6)
    assert canceled.is_canceled(TENANT, batch.id)
    assert not canceled.is_canceled("globex", batch.id)
