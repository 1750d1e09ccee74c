"""The sweep's loop: long backlogs, failing checks, deadlines."""

from __future__ import annotations

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
from tests.support.world import World

if TYPE_CHECKING:
    from collections.abc import Mapping

    from replicate_proxy.replicate_api.models import UpstreamPrediction
    from replicate_proxy.services.sweep import CheckHandler

S = JobStatus
PAST = NOW - timedelta(seconds=1)


@pytest.fixture
def world() -> World:
    return World()


def make_sweeper(
    world: World, handlers: Mapping[JobStatus, CheckHandler], duration_seconds: float = 0
) -> Sweeper:
    return Sweeper(
        store=world.store,
        handlers=handlers,
        clock=world.clock,
        sleep=world.clock.sleep,
        duration_seconds=duration_seconds,
    )


def test_sweep_checks_nothing_when_no_job_is_due(world: World) -> None:
    world.put_job(next_check_at=NOW + timedelta(seconds=1))

    assert world.run_sweep() == {}


def test_sweep_checks_healthy_job_when_older_jobs_fail(world: World) -> None:
    """Reading any of the older jobs from Replicate fails, and takes ten seconds of the sweep."""
    for _ in range(100):
        world.put_job(S.PROCESSING, next_check_at=NOW - timedelta(hours=1))
    healthy_job = world.put_job(next_check_at=PAST)
    read_prediction = world.replicate.get

    def read_slowly(prediction_id: str) -> UpstreamPrediction:
        world.clock.advance(10 / 8)
        return read_prediction(prediction_id)

    world.replicate.get = read_slowly  # type: ignore[method-assign]  # for this test only
    world.replicate.faults.fail("get", times=10_000)
    for _ in range(5):
        world.run_sweep()
        world.clock.advance(10)

    assert world.get_job(healthy_job).status is S.QUEUED
    assert len(world.messages) == 1, "the healthy job was not checked"


def test_sweep_continues_when_check_has_bug(world: World) -> None:
    failing_job = world.put_job(S.HARVESTING, next_check_at=PAST, completed_at=NOW)
    healthy_job = world.put_job(next_check_at=PAST)

    def raise_key_error(_: Job) -> CheckOutcome:
        raise KeyError("bug")

    handlers: dict[JobStatus, CheckHandler] = {
        S.HARVESTING: raise_key_error,
        S.QUEUED: lambda _: CheckOutcome.SUBMIT_REQUEUED,
    }
    result = make_sweeper(world, handlers).sweep_jobs(NOW + timedelta(seconds=50))

    assert result.outcomes == {CheckOutcome.CHECK_FAILED: 1, CheckOutcome.SUBMIT_REQUEUED: 1}
    due_jobs = world.store.list_due_jobs(before=NOW, limit=9)
    assert {failing_job.id, healthy_job.id} == {row.id for row in due_jobs}


def test_sweep_checks_each_job_once_when_no_check_moves_it(world: World) -> None:
    for _ in range(300):
        world.put_job(next_check_at=PAST)
    checks: Counter[str] = Counter()

    def do_nothing(job: Job) -> CheckOutcome:
        checks[job.id] += 1
        return CheckOutcome.STILL_RUNNING

    result = make_sweeper(world, {S.QUEUED: do_nothing}).sweep_jobs(NOW + timedelta(seconds=50))

    assert result.finished
    assert len(checks) == 300
    assert set(checks.values()) == {1}


def test_sweep_raises_retryable_error_when_index_is_unavailable(world: World) -> None:
    world.store.faults.fail("list_due_jobs")

    with pytest.raises(RetryableError):
        world.run_sweep()


def test_sweeps_check_backlog_of_ten_thousand_jobs(world: World) -> None:
    # Given ten thousand queued jobs whose messages were lost, and checks that take 20 ms each
    for number in range(10_000):
        world.put_job(id=f"{number:026d}", next_check_at=NOW - timedelta(seconds=10_000 - number))

    def check_slowly(job: Job) -> CheckOutcome:
        world.clock.advance(0.02)
        return world.check_handlers[S.QUEUED](job)

    sweeper = make_sweeper(world, {S.QUEUED: check_slowly})

    # When sweeps of fifty seconds run until one finishes
    began, sweeps, checked = time.perf_counter(), 0, 0
    while True:
        started_at = world.clock.now()
        result = sweeper.sweep_jobs(started_at + timedelta(seconds=50))
        assert (world.clock.now() - started_at).total_seconds() < 51
        sweeps += 1
        checked += result.outcomes.get(CheckOutcome.SUBMIT_REQUEUED, 0)
        if result.finished:
            break
        assert sweeps < 20

    # Then every job was checked, in acceptable time
    assert checked >= 10_000
    assert len({message.number for message in world.messages}) == checked
    assert sweeps >= 4
    assert time.perf_counter() - began < 60


def test_sweep_checks_job_that_falls_due_within_its_duration(world: World) -> None:
    world.put_job(next_check_at=NOW + timedelta(seconds=5))
    sweeper = make_sweeper(world, {S.QUEUED: world.check_handlers[S.QUEUED]}, duration_seconds=20)

    result = sweeper.sweep_jobs(NOW + timedelta(seconds=50))

    assert result.outcomes == {CheckOutcome.SUBMIT_REQUEUED: 1}
    assert world.clock.now() - NOW <= timedelta(seconds=22)


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
    world: World, emitted: MetricsReader, error: Exception, counted: dict[tuple[str], int]
) -> None:
    world.put_job(next_check_at=PAST)

    def fail(_: Job) -> CheckOutcome:
        raise error

    make_sweeper(world, {S.QUEUED: fail}).sweep_jobs(NOW + timedelta(seconds=50))

    assert emitted.sum_by(Metric.CHECK_FAILED, "reason") == counted


def test_sweep_without_due_jobs_reports_that_it_ran(world: World, emitted: MetricsReader) -> None:
    world.run_sweep()

    assert emitted.values(Metric.JOBS_CHECKED) == [0]
