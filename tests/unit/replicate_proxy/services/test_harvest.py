"""Harvesting: leases, further rounds, retries, and an end in any case."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from replicate_proxy.contracts.events import PredictionReport
from replicate_proxy.errors import NotFoundError, RetryableError
from replicate_proxy.jobs.model import Document, Job, JobStatus, ReportChannel
from replicate_proxy.outputs.records import FileOutcome, FileRecord, HarvestResult
from tests.support.builders import make_job
from tests.support.clock import NOW
from tests.support.world import Crash, World

S = JobStatus
SOURCE = ["https://replicate.delivery/a.png", "https://replicate.delivery/b.png"]
STORED = FileRecord(
    (0,), FileOutcome.COMPRESSED, "https://outputs.test/a.webp", bytes_before=100, bytes_after=9
)
LEFT = FileRecord((1,), FileOutcome.NOT_STORED, SOURCE[1], reason="timeout", retryable=True)
UNFINISHED = HarvestResult(output=SOURCE, records=(STORED,), remaining=((1,),))
FAILED_ONCE = HarvestResult(output=[STORED.url, SOURCE[1]], records=(STORED, LEFT))


def unfinished(files: int) -> HarvestResult:
    """A round after which so many files are stored, and one is not."""
    stored = tuple(
        FileRecord((number,), FileOutcome.STORED, f"https://outputs.test/{number}") for number in range(files)
    )
    return HarvestResult(output=SOURCE, records=stored, remaining=((files,),))


@pytest.fixture
def world() -> World:
    return World()


def succeeded(world: World, **fields: Any) -> Job:
    """A job whose prediction has just succeeded; its event is not handled yet."""
    job = world.accept_job().job
    world.drain_messages()
    world.replicate.finish("p1", output=SOURCE, **fields)
    return job


def report(job: Job, **fields: Any) -> PredictionReport:
    given: dict[str, Any] = {
        "tenant": job.tenant,
        "job_id": job.id,
        "attempt": 1,
        "status": "succeeded",
        "channel": ReportChannel.WEBHOOK,
    }
    return PredictionReport(**{**given, "received_at": NOW, **fields})


def harvest(world: World, job: Job, seconds: float = 300) -> Job:
    prediction = world.replicate.predictions["p1"]
    return world.harvester.harvest(report(job, prediction=prediction), _deadline(world, seconds))


def _deadline(world: World, seconds: float = 300) -> datetime:
    return world.clock.now() + timedelta(seconds=seconds)


def test_the_output_is_final_once_the_job_has_succeeded(world: World) -> None:
    job = succeeded(world, metrics={"predict_time": 1.5})
    done = harvest(world, job)
    assert done.status is S.SUCCEEDED
    assert world.documents.load(done.output) == [f"https://outputs.test/{job.id}.webp"]
    assert done.metrics == {"predict_time": 1.5}
    assert list(done.timeline)[-3:] == ["reported", "harvesting", "finished"]


def test_a_second_delivery_of_the_message_changes_nothing(world: World) -> None:
    job = succeeded(world)
    done = harvest(world, job)
    assert harvest(world, job) == done
    assert len(world.output_harvester.calls) == 1


def test_a_second_harvester_keeps_out_while_the_first_works(world: World) -> None:
    job = succeeded(world)
    second: list[Job] = []
    first = world.harvester
    # The second message is handled while the first round has just begun.
    world.harvester = replace(
        first,
        checkpoint=lambda name: (
            second.append(first.harvest(report(job), _deadline(world)))
            if name == "harvest.lease_acquired"
            else None
        ),
    )
    assert harvest(world, job).status is S.SUCCEEDED
    assert [job.status for job in second] == [S.HARVESTING]
    assert len(world.output_harvester.calls) == 1


@pytest.mark.parametrize("place", ["lease_acquired", "files_stored", "result_stored"])
def test_a_harvester_that_dies_is_followed_by_another(place: str) -> None:
    died: list[str] = []

    def dies_once(name: str) -> bool:
        if name != f"crash.harvest.{place}" or died:
            return False
        died.append(name)
        return True

    world = World(fault_occurs=dies_once)
    job = succeeded(world)
    with pytest.raises(Crash):
        harvest(world, job)
    world.pass_time(600)
    assert world.get_job(job).status is S.SUCCEEDED


def test_many_files_take_several_rounds_and_are_not_fetched_twice(world: World) -> None:
    job = succeeded(world)
    world.output_harvester.results = [UNFINISHED]
    waiting = harvest(world, job)
    assert (waiting.status, waiting.lease_until) == (S.HARVESTING, None)
    world.drain_messages()
    assert world.get_job(job).status is S.SUCCEEDED
    assert world.output_harvester.calls == [(), (STORED,)]


def test_rounds_that_go_on_do_not_use_up_the_retries(world: World) -> None:
    job = succeeded(world)
    world.output_harvester.results = [unfinished(files) for files in range(1, 7)] + [FAILED_ONCE]
    harvest(world, job)
    world.pass_time(120)
    assert world.get_job(job).status is S.SUCCEEDED
    assert len(world.output_harvester.calls) == 8


def test_a_round_that_stored_nothing_new_is_not_followed_by_the_next_at_once(world: World) -> None:
    job = succeeded(world)
    world.output_harvester.results = [UNFINISHED] * 50
    harvest(world, job)
    world.drain_messages()
    assert len(world.output_harvester.calls) == 2
    world.pass_time(120)
    assert 3 <= len(world.output_harvester.calls) <= 5


def test_a_file_that_cannot_be_had_is_tried_again_then_left(world: World) -> None:
    job = succeeded(world)
    world.output_harvester.results = [FAILED_ONCE] * 10
    harvest(world, job)
    world.pass_time(300)
    done = world.get_job(job)
    assert done.status is S.SUCCEEDED
    assert world.documents.load(done.output) == [STORED.url, SOURCE[1]]
    assert [record["outcome"] for record in world.documents.load(done.files)] == ["compressed", "not_stored"]
    assert len(world.output_harvester.calls) == 4


def test_storage_that_fails_for_now_is_tried_again(world: World) -> None:
    job = succeeded(world)
    world.output_harvester.faults.fail("harvest", times=3)
    harvest(world, job)
    world.pass_time(300)
    assert world.get_job(job).status is S.SUCCEEDED


def test_storage_that_fails_for_good_has_an_end(world: World) -> None:
    job = succeeded(world)
    world.output_harvester.faults.fail("harvest", times=10_000)
    harvest(world, job)
    world.pass_time(2 * 3600)
    done = world.get_job(job)
    assert done.status is S.SUCCEEDED
    assert world.documents.load(done.output) == SOURCE


def test_a_message_for_a_further_round_that_cannot_be_sent_is_made_good_by_the_sweep(world: World) -> None:
    job = succeeded(world)
    world.output_harvester.results = [UNFINISHED]

    class Broken:
        def send(self, *args: object, **kwargs: object) -> None:
            raise RetryableError("send failed")

    broken = replace(world.harvester, queue=Broken())
    with pytest.raises(RetryableError):
        broken.harvest(report(job, prediction=world.replicate.predictions["p1"]), _deadline(world))
    world.pass_time(300)
    assert world.get_job(job).status is S.SUCCEEDED


def test_a_source_output_that_is_gone_ends_the_job(world: World) -> None:
    job = world.store.put(
        make_job(S.HARVESTING, replicate_output=Document(object_key="records/gone.json"), completed_at=NOW)
    )
    done = world.harvester.harvest(report(job), _deadline(world))
    assert done.status is S.SUCCEEDED
    assert world.documents.load(done.output) is None


def test_a_harvest_that_somebody_else_ended_meanwhile_is_no_error(world: World) -> None:
    job = succeeded(world)

    def other_ends_it(name: str) -> None:
        if name == "harvest.files_stored":
            there = world.get_job(job)
            world.store.put(
                replace(there, status=S.SUCCEEDED, next_check_at=None, revision=there.revision + 1)
            )

    slow = replace(world.harvester, checkpoint=other_ends_it)
    done = slow.harvest(report(job, prediction=world.replicate.predictions["p1"]), _deadline(world))
    assert done.status is S.SUCCEEDED


def test_a_further_round_for_a_job_that_is_not_harvested_is_dropped(world: World) -> None:
    job = world.store.put(make_job(S.PROCESSING))
    assert world.harvester.harvest(report(job), _deadline(world)) == job


def test_a_job_that_is_gone_is_said_so(world: World) -> None:
    with pytest.raises(NotFoundError):
        world.harvester.harvest(report(make_job()), _deadline(world))


def test_late_news_does_not_overwrite_what_is_stored(world: World) -> None:
    """Logs and outputs too large for the item lie under keys of their own."""
    job = succeeded(world, logs="l" * 9000)
    done = harvest(world, job)
    before = dict(world.documents.objects)
    running = {**world.replicate.predictions["p1"], "status": "processing", "logs": "k" * 5000}
    world.tracker.track_report(report(job, status="processing", prediction=running))
    assert world.documents.load(world.get_job(job).logs) == "l" * 9000
    assert {key: world.documents.objects[key] for key in before} == before
    assert world.get_job(job) == done
