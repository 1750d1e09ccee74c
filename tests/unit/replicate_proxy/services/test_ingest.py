"""Accepting: durable first, once per idempotency key, and never an error after the job is safe."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from replicate_proxy.errors import ApiError, ConflictError, RetryableError
from replicate_proxy.jobs.model import Job, JobStatus
from tests.support.clock import NOW
from tests.support.world import World


@pytest.fixture
def world() -> World:
    return World()


def test_the_job_is_durable_and_queued(world: World) -> None:
    job = world.accept_job(webhook="https://app.test/hook", cancel_after_seconds=60).job
    stored = world.store.only_job()
    assert stored.status is JobStatus.QUEUED
    assert (stored.webhook, stored.deadline) == ("https://app.test/hook", NOW + timedelta(seconds=60))
    assert stored.next_check_at == NOW + timedelta(seconds=world.timeouts.queued_seconds)
    assert stored.expires_at == int((NOW + timedelta(days=30)).timestamp())
    assert stored.id == job.id
    assert len(world.messages) == 1


def test_a_queue_that_fails_does_not_fail_the_request() -> None:
    world = World(fault_occurs=lambda name: name == "queue.failed")
    job = world.accept_job().job
    world.fault_occurs = lambda _: False
    assert world.messages == []
    world.pass_time(180)
    assert world.get_job(job).status is JobStatus.SUBMITTED


@pytest.mark.parametrize("part", ["create", "keep"])
def test_nothing_is_accepted_that_cannot_be_kept(world: World, part: str) -> None:
    world.store.faults.fail("create")
    world.documents.faults.fail("keep")
    with pytest.raises(RetryableError):
        world.accept_job(idempotency_key="k")
    assert world.store.jobs == {}
    assert world.messages == []


def test_the_key_is_free_for_the_callers_retry_after_a_failure(world: World) -> None:
    world.store.faults.fail("create")
    with pytest.raises(RetryableError):
        world.accept_job(idempotency_key="k")
    again = world.accept_job(idempotency_key="k")
    assert not again.is_replay
    assert world.store.only_job().id == again.job.id


def test_a_key_stands_for_one_job(world: World) -> None:
    first = world.accept_job(idempotency_key="k")
    second = world.accept_job(idempotency_key="k")
    assert (first.is_replay, second.is_replay) == (False, True)
    assert second.job.id == world.store.only_job().id == first.job.id
    world.drain_messages()
    assert len(world.replicate.predictions) == 1


def test_another_body_under_the_key_is_refused(world: World) -> None:
    world.accept_job(idempotency_key="k")
    with pytest.raises(ApiError) as refused:
        world.accept_job("a dog", idempotency_key="k")
    assert refused.value.status == 409
    assert len(world.store.jobs) == 1


def test_a_key_is_forgotten_after_a_day(world: World) -> None:
    world.accept_job(idempotency_key="k")
    world.clock.advance(24 * 3600 + 1)
    assert not world.accept_job("a dog", idempotency_key="k").is_replay
    assert len(world.store.jobs) == 2


def test_without_a_key_asking_twice_makes_two_jobs(world: World) -> None:
    world.accept_job()
    world.accept_job()
    assert len(world.store.jobs) == 2


def test_duplicates_at_the_same_time_make_one_job(world: World) -> None:
    with ThreadPoolExecutor(8) as callers:
        accepted = list(callers.map(lambda _: world.accept_job(idempotency_key="k"), range(16)))
    assert len({acceptance.job.id for acceptance in accepted}) == 1
    assert len(world.store.jobs) == 1
    world.drain_messages()
    assert len(world.replicate.predictions) == 1


def test_a_duplicate_that_loses_the_race_with_the_same_correlation_id_is_a_replay(world: World) -> None:
    # Given that the twin request is between its read and its write
    get = world.store.get
    answers: list[None] = [None]

    def reads_too_early(tenant: str, job_id: str, *, consistent: bool = True) -> Job | None:
        return answers.pop() if answers else get(tenant, job_id)

    first = world.accept_job(idempotency_key="k")
    world.clock.advance(1)
    world.store.get = reads_too_early  # type: ignore[method-assign]  # one test's twist
    second = world.accept_job(idempotency_key="k")

    assert second.is_replay
    assert second.job.created_at == first.job.created_at


def test_a_write_whose_answer_was_lost_counts_as_written(world: World) -> None:
    # The SDK's own retry then finds the job there.
    world.store.faults.fail("create_answer", error=ConflictError("create job"))
    accepted = world.accept_job()
    assert not accepted.is_replay
    assert world.store.only_job().id == accepted.job.id
    assert len(world.messages) == 1
