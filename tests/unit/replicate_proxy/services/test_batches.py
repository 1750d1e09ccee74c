"""Creating batches: all jobs are stored or none, before the caller gets a response."""

from __future__ import annotations

from dataclasses import replace

import pytest

from replicate_proxy.errors import ApiError, ConflictError, RetryableError
from replicate_proxy.jobs.model import JobStatus, Submission, SubmissionKind
from replicate_proxy.services.batch_reader import BatchState
from replicate_proxy.services.ingest import JobRequest
from tests.support.builders import BASE_URL, VERSION
from tests.support.pipeline import PRINCIPAL, Crash, Pipeline

REQUEST = JobRequest(
    submission=Submission(kind=SubmissionKind.VERSION, version=VERSION),
    input={"prompt": "a cat"},
    public_base_url=BASE_URL,
    correlation_id="c-1",
)
REQUESTS = [replace(REQUEST, input={"prompt": f"cat {number}"}) for number in range(3)]


def create(pipeline: Pipeline, key: str | None = None) -> BatchState:
    return pipeline.batch_service.create(REQUESTS, PRINCIPAL, key)


def test_batch_and_jobs_refer_to_each_other() -> None:
    pipeline = Pipeline()
    state = create(pipeline)
    assert state.batch.job_ids == tuple(job.id for job in state.jobs)
    assert {job.batch_id for job in pipeline.store.jobs.values()} == {state.batch.id}
    assert state.batch.expires_at == state.jobs[0].expires_at
    assert len(pipeline.messages) == 3


def test_batch_is_refused_while_its_tenant_has_sent_too_many_predictions() -> None:
    pipeline = Pipeline()
    pipeline.batch_limiter.delay_seconds = 2.5

    with pytest.raises(ApiError) as caught:
        create(pipeline)

    assert (caught.value.status, caught.value.retry_after) == (429, 3)
    assert pipeline.batch_limiter.calls == [(PRINCIPAL.tenant, 3)]
    assert pipeline.store.jobs == {}


@pytest.mark.parametrize("failing_store", ["batches", "documents"])
def test_create_fails_when_nothing_can_be_stored(failing_store: str) -> None:
    pipeline = Pipeline()
    if failing_store == "batches":
        pipeline.batch_store.faults.fail("create")
    else:
        pipeline.documents.faults.fail("save")
    with pytest.raises(RetryableError):
        create(pipeline, "k")
    assert (pipeline.store.jobs, pipeline.messages) == ({}, [])
    assert not create(pipeline, "k").is_replay, "the key is free for the caller's retry"
    assert len(pipeline.store.jobs) == 3


def test_create_succeeds_when_response_of_the_table_is_lost() -> None:
    pipeline = Pipeline()
    pipeline.batch_store.faults.fail("create_response")
    state = create(pipeline)
    assert not state.is_replay
    assert len(pipeline.store.jobs) == len(pipeline.messages) == 3


def test_concurrent_requests_with_same_key_create_one_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both claim the key and find no batch; the second finds it only when it writes."""
    pipeline = Pipeline()
    first = create(pipeline, "k")
    get, results = pipeline.batch_store.get, [None, first.batch]
    monkeypatch.setattr(pipeline.batch_store, "get", lambda *args: results.pop(0) if results else get(*args))
    second = create(pipeline, "k")
    assert second.is_replay
    assert second.batch == first.batch
    assert len(pipeline.store.jobs) == 3


def test_conflict_without_stored_batch_is_retryable() -> None:
    pipeline = Pipeline()
    pipeline.batch_store.faults.fail("create", error=ConflictError("create batch"))
    with pytest.raises(RetryableError):
        create(pipeline)


def test_sweep_queues_jobs_that_could_not_be_queued() -> None:
    checked: list[str] = []

    def fault_occurs(name: str) -> bool:
        checked.append(name)
        return name == "queue.failed"

    pipeline = Pipeline(fault_occurs=fault_occurs)
    state = create(pipeline)
    assert checked.count("queue.failed") == 1, "queueing stops at the first failed send"
    pipeline.fault_occurs = lambda _: False
    pipeline.pass_time(180)
    assert {pipeline.get_job(job).status for job in state.jobs} == {JobStatus.SUBMITTED}
    assert len(pipeline.replicate.predictions) == 3


def test_crash_after_the_write_loses_no_job() -> None:
    pipeline = Pipeline(fault_occurs=lambda name: name == "crash.ingest.job_stored")
    with pytest.raises(Crash):
        create(pipeline, "k")
    pipeline.fault_occurs = lambda _: False
    assert create(pipeline, "k").is_replay
    pipeline.pass_time(180)
    assert len(pipeline.replicate.predictions) == len(pipeline.store.jobs) == 3
