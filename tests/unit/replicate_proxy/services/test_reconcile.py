"""The checks of overdue jobs: what each status leads to, and the backoff of failing checks."""

from __future__ import annotations

from datetime import timedelta

import pytest

from replicate_proxy.jobs.model import JobStatus
from replicate_proxy.jobs.timeouts import JobTimeouts
from replicate_proxy.services.check_outcome import CheckOutcome
from tests.support.clock import NOW
from tests.support.world import World

S = JobStatus
PAST = NOW - timedelta(seconds=1)


@pytest.fixture
def world() -> World:
    return World()


def test_queued_job_is_submitted_when_message_is_lost(world: World) -> None:
    job = world.put_job(next_check_at=PAST)

    assert world.run_sweep() == {CheckOutcome.SUBMIT_REQUEUED: 1}
    world.drain_messages()

    assert world.get_job(job).status is S.SUBMITTED


def test_submitting_job_is_resubmitted_when_dispatcher_crashed_before_sending(world: World) -> None:
    job = world.put_job(S.SUBMITTING, next_check_at=PAST, lease_until=PAST)

    assert world.run_sweep() == {CheckOutcome.STILL_UNKNOWN: 1}
    assert world.get_job(job).status is S.SUBMIT_UNKNOWN
    world.pass_time(400)

    assert (world.get_job(job).status, world.get_job(job).attempt) == (S.SUBMITTED, 2)
    assert len(world.replicate.predictions) == 1


def test_running_job_succeeds_by_poll_when_webhook_is_lost(world: World) -> None:
    job = world.accept_job().job
    world.drain_messages()
    world.replicate.finish("p1")

    world.pass_time(world.timeouts.webhook_seconds + 60)

    done = world.get_job(job)
    assert (done.status, done.report_channel) == (S.SUCCEEDED, "poll")


@pytest.mark.parametrize("webhooks", [True, False], ids=["webhooks", "polling"])
def test_result_is_found_within_its_hour_when_prediction_ran_for_hours(*, webhooks: bool) -> None:
    world = World(timeouts=JobTimeouts(webhooks_enabled=webhooks))
    job = world.accept_job().job
    world.drain_messages()
    for _ in range(5):
        world.pass_time(3000)
        world.replicate.start("p1")
    world.replicate.finish("p1")

    world.pass_time(2400)

    assert world.get_job(job).status is S.SUCCEEDED


def test_report_is_published_again_when_event_is_lost(world: World) -> None:
    job = world.accept_job().job
    world.drain_messages()
    world.replicate.finish("p1")
    world.clock.advance(world.timeouts.webhook_seconds + 1)
    world.run_sweep()
    world.messages.clear()

    world.pass_time(90)

    assert world.get_job(job).status is S.SUCCEEDED


def test_running_job_fails_when_replicate_has_deleted_output(world: World) -> None:
    job = world.accept_job().job
    world.drain_messages()
    world.replicate.finish("p1")
    world.clock.advance(7200)
    world.replicate.remove_data(older_than=timedelta(hours=1))

    assert world.run_sweep() == {CheckOutcome.OUTPUT_LOST: 1}

    assert world.get_job(job).status is S.FAILED
    assert "lost" in (world.get_job(job).error or "")


def test_running_job_fails_when_replicate_does_not_know_prediction(world: World) -> None:
    job = world.put_job(S.PROCESSING, next_check_at=PAST, replicate_id="p404")

    assert world.run_sweep() == {CheckOutcome.OUTPUT_LOST: 1}

    assert world.get_job(job).status is S.FAILED


def test_harvest_is_resumed_when_lease_has_expired(world: World) -> None:
    job = world.put_job(S.HARVESTING, next_check_at=PAST, lease_until=PAST, completed_at=NOW)

    assert world.run_sweep() == {CheckOutcome.HARVEST_RESUMED: 1}
    world.drain_messages()

    assert world.get_job(job).status is S.SUCCEEDED


def test_harvest_ends_with_source_urls_when_source_has_expired(world: World) -> None:
    job = world.put_job(S.HARVESTING, next_check_at=PAST, completed_at=NOW - timedelta(hours=2))

    assert world.run_sweep() == {CheckOutcome.FINISHED_WITH_SOURCE_URLS: 1}

    done = world.get_job(job)
    assert done.status is S.SUCCEEDED
    assert world.documents.load(done.output) == "https://replicate.delivery/a.png"


def test_failing_check_is_repeated_at_growing_intervals(world: World) -> None:
    job = world.put_job(S.PROCESSING, next_check_at=PAST)
    world.replicate.faults.fail("get", times=10_000)

    checks = 0
    for _ in range(120):
        checks += sum(world.run_sweep().values())
        world.clock.advance(60)

    assert 12 <= checks <= 20
    assert world.get_job(job).status is S.PROCESSING


def test_failed_check_is_repeated_within_minutes_after_many_checks_without_progress(world: World) -> None:
    job = world.put_job(S.SUBMIT_UNKNOWN, next_check_at=PAST, create_sent_at=NOW, checks=9)
    world.replicate.faults.fail("list")

    assert world.run_sweep() == {CheckOutcome.CHECK_FAILED: 1}

    next_check_at = world.get_job(job).next_check_at
    assert next_check_at is not None
    assert next_check_at - NOW <= timedelta(minutes=10)
