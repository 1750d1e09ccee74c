"""Creating jobs: durable first, once per idempotency key, no error once the job is stored."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from replicate_proxy.errors import ApiError, ConflictError, RetryableError
from replicate_proxy.jobs.model import Job, JobStatus
from tests.support.clock import NOW
from tests.support.pipeline import Pipeline


@pytest.fixture
def pipeline() -> Pipeline:
    return Pipeline()


def test_create_stores_and_queues_job(pipeline: Pipeline) -> None:
    job = pipeline.accept_job(webhook="https://app.test/hook", cancel_after_seconds=60).job
    stored = pipeline.store.only_job()
    assert stored.status is JobStatus.QUEUED
    assert (stored.webhook, stored.deadline) == ("https://app.test/hook", NOW + timedelta(seconds=60))
    assert stored.next_check_at == NOW + timedelta(seconds=pipeline.timeouts.queued_seconds)
    assert (stored.delete_at, stored.deletes_files) == (NOW + timedelta(days=30), False)
    assert stored.expires_at == int((NOW + timedelta(days=37)).timestamp())
    assert stored.id == job.id
    assert len(pipeline.messages) == 1


def test_create_succeeds_when_queueing_fails() -> None:
    pipeline = Pipeline(fault_occurs=lambda name: name == "queue.failed")
    job = pipeline.accept_job().job
    pipeline.fault_occurs = lambda _: False
    assert pipeline.messages == []
    pipeline.pass_time(180)
    assert pipeline.get_job(job).status is JobStatus.SUBMITTED


@pytest.mark.parametrize("failing_store", ["jobs", "documents"])
def test_create_fails_when_nothing_can_be_stored(pipeline: Pipeline, failing_store: str) -> None:
    if failing_store == "jobs":
        pipeline.store.faults.fail("create")
    else:
        pipeline.documents.faults.fail("save")
    with pytest.raises(RetryableError):
        pipeline.accept_job(idempotency_key="k")
    assert pipeline.store.jobs == {}
    assert pipeline.messages == []


def test_retry_after_failed_create_is_not_a_replay(pipeline: Pipeline) -> None:
    pipeline.store.faults.fail("create")
    with pytest.raises(RetryableError):
        pipeline.accept_job(idempotency_key="k")
    retry = pipeline.accept_job(idempotency_key="k")
    assert not retry.is_replay
    assert pipeline.store.only_job().id == retry.job.id


def test_same_key_creates_one_job(pipeline: Pipeline) -> None:
    first = pipeline.accept_job(idempotency_key="k")
    second = pipeline.accept_job(idempotency_key="k")
    assert (first.is_replay, second.is_replay) == (False, True)
    assert second.job.id == pipeline.store.only_job().id == first.job.id
    pipeline.drain_messages()
    assert len(pipeline.replicate.predictions) == 1


def test_same_key_with_the_fields_in_another_order_creates_one_job(pipeline: Pipeline) -> None:
    for image_options in ({"format": "avif", "quality": 50}, {"quality": 50, "format": "avif"}):
        pipeline.accept_job(image_options=image_options, idempotency_key="k")

    assert len(pipeline.store.jobs) == 1


def test_same_key_with_another_body_is_a_409(pipeline: Pipeline) -> None:
    pipeline.accept_job(idempotency_key="k")
    with pytest.raises(ApiError) as caught:
        pipeline.accept_job("a dog", idempotency_key="k")
    assert caught.value.status == 409
    assert len(pipeline.store.jobs) == 1


def test_key_expires_after_a_day(pipeline: Pipeline) -> None:
    pipeline.accept_job(idempotency_key="k")
    pipeline.clock.advance(24 * 3600 + 1)
    assert not pipeline.accept_job("a dog", idempotency_key="k").is_replay
    assert len(pipeline.store.jobs) == 2


def test_two_requests_without_key_create_two_jobs(pipeline: Pipeline) -> None:
    pipeline.accept_job()
    pipeline.accept_job()
    assert len(pipeline.store.jobs) == 2


def test_concurrent_requests_with_same_key_create_one_job(pipeline: Pipeline) -> None:
    with ThreadPoolExecutor(8) as executor:
        results = list(executor.map(lambda _: pipeline.accept_job(idempotency_key="k"), range(16)))
    assert len({result.job.id for result in results}) == 1
    assert len(pipeline.store.jobs) == 1
    pipeline.drain_messages()
    assert len(pipeline.replicate.predictions) == 1


def test_duplicate_that_reads_before_the_first_write_is_a_replay(pipeline: Pipeline) -> None:
    get = pipeline.store.get
    early_reads: list[None] = [None]

    def read_too_early(tenant: str, job_id: str, *, consistent: bool = True) -> Job | None:
        return early_reads.pop() if early_reads else get(tenant, job_id)

    first = pipeline.accept_job(idempotency_key="k")
    pipeline.clock.advance(1)
    pipeline.store.get = read_too_early  # type: ignore[method-assign]  # for this test only
    second = pipeline.accept_job(idempotency_key="k")

    assert second.is_replay
    assert second.job.created_at == first.job.created_at


def test_create_succeeds_when_reply_of_the_table_is_lost(pipeline: Pipeline) -> None:
    # The SDK's retry of the write then conflicts with the write itself.
    pipeline.store.faults.fail("create_response", error=ConflictError("create job"))
    result = pipeline.accept_job()
    assert not result.is_replay
    assert pipeline.store.only_job().id == result.job.id
    assert len(pipeline.messages) == 1
