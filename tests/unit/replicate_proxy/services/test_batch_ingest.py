"""A batch is durable as a whole before the caller hears of it, whatever breaks."""

from __future__ import annotations

from dataclasses import replace

import pytest

from replicate_proxy.errors import ConflictError, RetryableError
from replicate_proxy.jobs.model import JobStatus, Submission, SubmissionKind
from replicate_proxy.services.batches import BatchState
from replicate_proxy.services.ingest import JobRequest
from tests.support.builders import BASE_URL, VERSION
from tests.support.world import PRINCIPAL, Crash, World

NEW = JobRequest(
    submission=Submission(kind=SubmissionKind.VERSION, version=VERSION),
    input={"prompt": "a cat"},
    base_url=BASE_URL,
    correlation_id="c-1",
)
NEWS = [replace(NEW, input={"prompt": f"cat {number}"}) for number in range(3)]


def accept(world: World, key: str | None = None) -> BatchState:
    return world.batch_service.create(NEWS, PRINCIPAL, key)


def test_jobs_know_their_batch_and_the_batch_its_jobs() -> None:
    world = World()
    state = accept(world)
    assert state.batch.job_ids == tuple(job.id for job in state.jobs)
    assert {job.batch_id for job in world.store.jobs.values()} == {state.batch.id}
    assert state.batch.expires_at == state.jobs[0].expires_at
    assert len(world.messages) == 3


@pytest.mark.parametrize("part", ["table", "documents"])
def test_nothing_is_accepted_that_cannot_be_kept(part: str) -> None:
    world = World()
    if part == "table":
        world.batch_store.faults.fail("create")
    else:
        world.documents.faults.fail("keep")
    with pytest.raises(RetryableError):
        accept(world, "k")
    assert (world.store.jobs, world.messages) == ({}, [])
    assert not accept(world, "k").is_replay, "the key is free for the caller's retry"
    assert len(world.store.jobs) == 3


def test_a_lost_answer_of_the_table_is_no_failure() -> None:
    world = World()
    world.batch_store.faults.fail("create_answer")
    state = accept(world)
    assert not state.is_replay
    assert len(world.store.jobs) == len(world.messages) == 3


def test_of_two_at_once_under_a_key_one_creates(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both have claimed the key and found no batch; the second finds it only when it writes."""
    world = World()
    first = accept(world, "k")
    get, looks = world.batch_store.get, [None, first.batch]
    monkeypatch.setattr(world.batch_store, "get", lambda *_: looks.pop(0) if looks else get(*_))
    second = accept(world, "k")
    assert second.is_replay
    assert second.batch == first.batch
    assert len(world.store.jobs) == 3


def test_a_conflict_without_a_batch_is_tried_again() -> None:
    world = World()
    world.batch_store.faults.fail("create", error=ConflictError("create batch"))
    with pytest.raises(RetryableError):
        accept(world)


def test_what_cannot_be_queued_is_left_to_the_sweep() -> None:
    asked: list[str] = []

    def chance(name: str) -> bool:
        asked.append(name)
        return name == "queue.failed"

    world = World(fault_occurs=chance)
    state = accept(world)
    assert asked.count("queue.failed") == 1, "a queue that fails is not asked for every job"
    world.fault_occurs = lambda _: False
    world.pass_time(180)
    assert {world.get_job(job).status for job in state.jobs} == {JobStatus.SUBMITTED}
    assert len(world.replicate.predictions) == 3


def test_a_crash_after_the_write_loses_nothing() -> None:
    world = World(fault_occurs=lambda name: name == "crash.ingest.job_stored")
    with pytest.raises(Crash):
        accept(world, "k")
    world.fault_occurs = lambda _: False
    assert accept(world, "k").is_replay
    world.pass_time(180)
    assert len(world.replicate.predictions) == len(world.store.jobs) == 3
