"""The sweep's loop: long backlogs, failing checks, deadlines."""

from __future__ import annotations

import threading
import time
from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from replicate_proxy.errors import ConfigurationError, PermanentError, RetryableError
from replicate_proxy.jobs.model import Job, JobStatus
from replicate_proxy.observability import Metric
from replicate_proxy.services.check_outcome import CheckOutcome
from replicate_proxy.services.sweep import Sweeper
from tests.support.clock import NOW
from tests.support.metrics import MetricsReader
from tests.support.pipeline import Pipeline

if TYPE_CHECKING:
    from collections.abc import Mapping

    from replicate_proxy.replicate_api.models import UpstreamPrediction
    from replicate_proxy.services.sweep import CheckHandler

S = JobStatus
PAST = NOW - timedelta(seconds=1)


@pytest.fixture
def pipeline() -> Pipeline:
    return Pipeline()


def make_sweeper(
    pipeline: Pipeline, handlers: Mapping[JobStatus, CheckHandler], duration_seconds: float = 0
) -> Sweeper:
    return Sweeper(
        store=pipeline.store,
        handlers=handlers,
        clock=pipeline.clock,
        sleep=pipeline.clock.sleep,
        duration_seconds=duration_seconds,
    )


def test_sweep_checks_nothing_when_no_job_is_due(pipeline: Pipeline) -> None:
    pipeline.put_job(next_check_at=NOW + timedelta(seconds=1))

    assert pipeline.run_sweep() == {}


def test_sweep_checks_healthy_job_when_older_jobs_fail(pipeline: Pipeline) -> None:
    """Reading any of the older jobs from Replicate fails, and takes ten seconds of the sweep."""
    for _ in range(100):
        pipeline.put_job(S.PROCESSING, next_check_at=NOW - timedelta(hours=1))
    healthy_job = pipeline.put_job(next_check_at=PAST)
    read_prediction = pipeline.replicate.get

    def read_slowly(prediction_id: str) -> UpstreamPrediction:
        pipeline.clock.advance(10 / 8)
        return read_prediction(prediction_id)

    pipeline.replicate.get = read_slowly  # type: ignore[method-assign]  # for this test only
    pipeline.replicate.faults.fail("get", times=10_000)
    for _ in range(5):
        pipeline.run_sweep()
        pipeline.clock.advance(10)

    assert pipeline.get_job(healthy_job).status is S.QUEUED
    assert pipeline.messages, "the healthy job was not checked"


def test_job_is_checked_when_checks_of_older_jobs_end_the_process(pipeline: Pipeline) -> None:
    for _ in range(20):
        pipeline.put_job(S.PROCESSING, next_check_at=NOW - timedelta(hours=1))
    healthy_job = pipeline.put_job(next_check_at=PAST)
    checked = set[str]()
    ended = threading.Event()

    def end_process(_: Job) -> CheckOutcome:
        time.sleep(0.02)  # The checks that began at the same time are made.
        ended.set()
        raise SystemExit

    def check(job: Job) -> CheckOutcome:
        if ended.is_set():
            raise SystemExit  # Its process has ended: this thread is a remainder.
        checked.add(job.id)
        return CheckOutcome.SUBMIT_REQUEUED

    sweeper = make_sweeper(pipeline, {S.PROCESSING: end_process, S.QUEUED: check})
    for _ in range(21):
        ended.clear()
        with pytest.raises(SystemExit):
            sweeper.sweep_jobs(pipeline.clock.now() + timedelta(seconds=50))
        pipeline.clock.advance(60)

    assert checked == {healthy_job.id}


def test_sweep_continues_when_check_has_bug(pipeline: Pipeline) -> None:
    failing_job = pipeline.put_job(S.HARVESTING, next_check_at=PAST, completed_at=NOW)
    healthy_job = pipeline.put_job(next_check_at=PAST)

    def raise_key_error(_: Job) -> CheckOutcome:
        raise KeyError("bug")

    handlers: dict[JobStatus, CheckHandler] = {
        S.HARVESTING: raise_key_error,
        S.QUEUED: lambda _: CheckOutcome.SUBMIT_REQUEUED,
    }
    result = make_sweeper(pipeline, handlers).sweep_jobs(NOW + timedelta(seconds=50))

    assert result.outcomes == {CheckOutcome.CHECK_FAILED: 1, CheckOutcome.SUBMIT_REQUEUED: 1}
    due_jobs = pipeline.store.list_due_jobs(before=NOW, limit=9)
    assert {failing_job.id, healthy_job.id} == {row.id for row in due_jobs}


def test_sweep_checks_each_job_once_when_no_check_moves_it(pipeline: Pipeline) -> None:
    for _ in range(300):
        pipeline.put_job(next_check_at=PAST)
    checks: Counter[str] = Counter()

    def do_nothing(job: Job) -> CheckOutcome:
        checks[job.id] += 1
        return CheckOutcome.STILL_RUNNING

    result = make_sweeper(pipeline, {S.QUEUED: do_nothing}).sweep_jobs(NOW + timedelta(seconds=50))

    assert result.finished
    assert len(checks) == 300
    assert set(checks.values()) == {1}


def test_sweep_raises_retryable_error_when_index_is_unavailable(pipeline: Pipeline) -> None:
    pipeline.store.faults.fail("list_due_jobs")

    with pytest.raises(RetryableError):
        pipeline.run_sweep()


def test_sweeps_check_backlog_of_thousands_of_jobs(pipeline: Pipeline) -> None:
    # Given four thousand queued jobs whose messages were lost, and checks that take 50 ms each
    for number in range(4000):
        pipeline.put_job(id=f"{number:026d}", next_check_at=NOW - timedelta(seconds=4000 - number))

    def check_slowly(job: Job) -> CheckOutcome:
        pipeline.clock.advance(0.05)
        return pipeline.check_handlers[S.QUEUED](job)

    sweeper = make_sweeper(pipeline, {S.QUEUED: check_slowly})

    # When sweeps of fifty seconds run until one finishes
    began, sweeps, checked = time.perf_counter(), 0, 0
    while True:
        started_at = pipeline.clock.now()
        result = sweeper.sweep_jobs(started_at + timedelta(seconds=50))
        assert (pipeline.clock.now() - started_at).total_seconds() < 51
        sweeps += 1
        checked += result.outcomes.get(CheckOutcome.SUBMIT_REQUEUED, 0)
        if result.finished:
            break
        assert sweeps < 20

    # Then every job was checked, in acceptable time
    assert checked >= 4000
    assert len({message.number for message in pipeline.messages}) == checked
    assert sweeps >= 4
    assert time.perf_counter() - began < 60


def test_sweep_checks_job_that_falls_due_within_its_duration(pipeline: Pipeline) -> None:
    pipeline.put_job(next_check_at=NOW + timedelta(seconds=5))
    sweeper = make_sweeper(pipeline, {S.QUEUED: pipeline.check_handlers[S.QUEUED]}, duration_seconds=20)

    result = sweeper.sweep_jobs(NOW + timedelta(seconds=50))

    assert result.outcomes == {CheckOutcome.SUBMIT_REQUEUED: 1}
    assert pipeline.clock.now() - NOW <= timedelta(seconds=22)


@pytest.mark.parametrize(
    ("error", "counted"),
    [
        (KeyError("bug"), {("unexpected",): 1}),
        (PermanentError("no replicate_id"), {("permanent",): 1}),
        (ConfigurationError("no token"), {("configuration",): 1}),
        (RetryableError("busy"), {}),
    ],
)
def test_failed_check_is_counted_unless_failure_is_temporary(
    pipeline: Pipeline, emitted: MetricsReader, error: Exception, counted: dict[tuple[str], int]
) -> None:
    pipeline.put_job(next_check_at=PAST)

    def fail(_: Job) -> CheckOutcome:
        raise error

    make_sweeper(pipeline, {S.QUEUED: fail}).sweep_jobs(NOW + timedelta(seconds=50))

    assert emitted.sum_by(Metric.CHECK_FAILED, "reason") == counted


def test_sweep_without_due_jobs_emits_no_metric(pipeline: Pipeline, emitted: MetricsReader) -> None:
    pipeline.run_sweep()

    assert emitted.values(Metric.JOBS_CHECKED) == []
