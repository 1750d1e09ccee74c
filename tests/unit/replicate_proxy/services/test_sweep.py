"""The sweep: every kind of overdue job, long backlogs, sick jobs, its own limits."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from replicate_proxy.clock import format_timestamp
from replicate_proxy.contracts.commands import DispatchCommand, DispatchKind
from replicate_proxy.errors import RetryableError
from replicate_proxy.jobs.model import Document, Job, JobStatus, Submission, SubmissionKind
from replicate_proxy.jobs.timeouts import JobTimeouts
from replicate_proxy.replicate_api.errors import OutcomeUnknownError
from replicate_proxy.services.check_outcome import CheckOutcome
from replicate_proxy.services.sweep import Sweeper
from tests.support.builders import VERSION, make_job
from tests.support.clock import NOW
from tests.support.world import World

if TYPE_CHECKING:
    from replicate_proxy.replicate_api.models import UpstreamPrediction

S = JobStatus
PAST = NOW - timedelta(seconds=1)


@pytest.fixture
def world() -> World:
    return World()


def test_nothing_due_is_nothing_done(world: World) -> None:
    world.store.put(make_job(next_check_at=NOW + timedelta(seconds=1)))
    assert world.run_sweep() == {}


def test_a_job_whose_message_was_lost_is_sent(world: World) -> None:
    job = world.store.put(make_job(next_check_at=PAST))
    assert world.run_sweep() == {CheckOutcome.SUBMIT_REQUEUED: 1}
    world.drain_messages()
    assert world.get_job(job).status is S.SUBMITTED


def test_a_dispatcher_that_died_before_sending_costs_minutes(world: World) -> None:
    job = world.store.put(make_job(S.SUBMITTING, next_check_at=PAST, lease_until=PAST))
    assert world.run_sweep() == {CheckOutcome.STILL_UNKNOWN: 1}
    assert world.get_job(job).status is S.SUBMIT_UNKNOWN
    world.pass_time(400)
    assert (world.get_job(job).status, world.get_job(job).attempt) == (S.SUBMITTED, 2)
    assert len(world.replicate.predictions) == 1


def test_a_lost_webhook_costs_minutes(world: World) -> None:
    job = world.accept_job().job
    world.drain_messages()
    world.replicate.finish("p1")
    world.pass_time(world.timeouts.webhook_seconds + 60)
    done = world.get_job(job)
    assert (done.status, done.report_channel) == (S.SUCCEEDED, "poll")


@pytest.mark.parametrize("webhooks", [True, False])
def test_a_result_is_found_within_its_hour_however_long_the_prediction_ran(*, webhooks: bool) -> None:
    world = World(timeouts=JobTimeouts(webhooks_enabled=webhooks))
    job = world.accept_job().job
    world.drain_messages()
    for _ in range(5):
        world.pass_time(3000)
        world.replicate.start("p1")
    world.replicate.finish("p1")
    world.pass_time(2400)
    assert world.get_job(job).status is S.SUCCEEDED


def test_an_event_lost_on_the_bus_is_published_again(world: World) -> None:
    job = world.accept_job().job
    world.drain_messages()
    world.replicate.finish("p1")
    world.clock.advance(world.timeouts.webhook_seconds + 1)
    world.run_sweep()
    world.messages.clear()
    world.pass_time(90)
    assert world.get_job(job).status is S.SUCCEEDED


def test_a_result_that_replicate_has_deleted_is_told_as_lost(world: World) -> None:
    job = world.accept_job().job
    world.drain_messages()
    world.replicate.finish("p1")
    world.clock.advance(7200)
    world.replicate.remove_data(older_than=timedelta(hours=1))
    assert world.run_sweep() == {CheckOutcome.OUTPUT_LOST: 1}
    assert world.get_job(job).status is S.FAILED
    assert "lost" in (world.get_job(job).error or "")


def test_a_prediction_replicate_does_not_know_is_lost(world: World) -> None:
    job = world.store.put(make_job(S.PROCESSING, next_check_at=PAST, replicate_id="p404"))
    assert world.run_sweep() == {CheckOutcome.OUTPUT_LOST: 1}
    assert world.get_job(job).status is S.FAILED


class TestUnknownOutcomes:
    def unknown(self, world: World, prompt: str = "a cat") -> Job:
        world.replicate.faults.fail("create", error=OutcomeUnknownError("reset"))
        job = world.accept_job(prompt).job
        world.drain_messages()
        assert world.get_job(job).status is S.SUBMIT_UNKNOWN
        return job

    def test_without_a_trace_is_sent_again_after_the_patience(self, world: World) -> None:
        job = self.unknown(world)
        world.pass_time(world.timeouts.resubmit_after_seconds - 30)
        assert world.replicate.predictions == {}
        world.pass_time(120)
        assert (world.get_job(job).status, world.get_job(job).attempt) == (S.SUBMITTED, 2)

    def test_is_not_sent_again_while_replicate_cannot_be_asked(self, world: World) -> None:
        job = self.unknown(world)
        world.replicate.faults.fail("list", times=1000)
        world.pass_time(1800)
        assert world.replicate.predictions == {}
        assert world.get_job(job).status is S.SUBMIT_UNKNOWN

    def test_has_an_end(self, world: World) -> None:
        job = self.unknown(world)
        world.replicate.faults.fail("create", times=1000, error=OutcomeUnknownError("reset"))
        world.pass_time(3600)
        assert world.get_job(job).status is S.FAILED
        assert len(world.get_job(job).past_attempts) == world.timeouts.max_resubmissions

    def test_is_not_sent_again_where_an_old_prediction_may_be_its_own(self, world: World) -> None:
        # Given that Replicate could not be asked until it had deleted the inputs
        world.replicate.faults.fail("create_answer", error=OutcomeUnknownError("reset"))
        job = world.accept_job().job
        world.drain_messages()
        world.replicate.finish("p1")
        world.replicate.faults.fail("list", times=1000)
        world.pass_time(7200)
        world.replicate.faults.planned.clear()
        world.replicate.remove_data(older_than=timedelta(hours=1))

        world.pass_time(3600)
        assert len(world.replicate.predictions) == 1
        assert world.get_job(job).status is S.FAILED
        assert "paid twice" in (world.get_job(job).error or "")

    def test_adopts_what_it_marked_before_it_died(self, world: World) -> None:
        # Given twins of unknown outcome, one of which had marked the older prediction as its own
        jobs = []
        for _ in range(2):
            world.replicate.faults.fail("create_answer", error=OutcomeUnknownError("reset"))
            jobs.append(world.accept_job().job)
            world.drain_messages()
            world.clock.advance(5)
        world.store.claim_prediction("p1", "acme", jobs[1].id)
        # When that one is looked at first
        world.sweeper._handlers[S.SUBMIT_UNKNOWN](world.get_job(jobs[1]))
        world.pass_time(300)
        assert {world.get_job(job).replicate_id for job in jobs} == {"p1", "p2"}
        assert world.get_job(jobs[1]).replicate_id == "p1"

    def test_does_not_take_what_a_twins_webhook_has_named(self, world: World) -> None:
        # Given that the answer of one create is lost, and its webhook tells all the same
        world.replicate.faults.fail("create_answer", error=OutcomeUnknownError("reset"))
        named = world.accept_job().job
        world.drain_messages()
        world.replicate.start("p1")
        world.send_webhook("p1")
        world.drain_messages()
        # When its twin, whose request never arrived, looks for its own
        twin = self.unknown(world)
        world.pass_time(world.timeouts.resubmit_after_seconds + 120)
        assert world.get_job(named).replicate_id == "p1"
        assert world.get_job(twin).replicate_id == "p2"

    @pytest.mark.parametrize("version", [VERSION, f"acme/model:{VERSION}"])
    def test_finds_a_prediction_whose_version_replicate_hides(self, world: World, version: str) -> None:
        world.replicate.faults.fail("create_answer", error=OutcomeUnknownError("reset"))
        job = world.store.put(make_job(submission=Submission(kind=SubmissionKind.VERSION, version=version)))
        world.dispatcher.handle(DispatchCommand(DispatchKind.SUBMIT, "acme", job.id, "c-1"))
        world.replicate.predictions["p1"]["version"] = "hidden"
        world.pass_time(600)
        assert (world.get_job(job).replicate_id, len(world.replicate.predictions)) == ("p1", 1)

    def test_does_not_take_another_models_prediction_of_hidden_version(self, world: World) -> None:
        job = self.unknown(world)
        world.store.save(replace(world.get_job(job), model="acme/other"))
        world.replicate.predictions["p7"] = {
            "id": "p7",
            "model": "acme/model",
            "version": "hidden",
            "status": "starting",
            "input": {"prompt": "a cat"},
            "output": None,
            "error": None,
            "logs": "",
            "metrics": {},
            "created_at": format_timestamp(world.clock.now()),
        }
        world.pass_time(600)
        assert world.get_job(job).replicate_id not in {None, "p7"}

    def test_looks_through_many_pages(self, world: World) -> None:
        world.replicate.faults.fail("create_answer", error=OutcomeUnknownError("reset"))
        job = world.accept_job("mine").job
        world.drain_messages()
        for number in range(350):
            world.store.put(make_job(id=f"{number:026d}", input=Document(text=f'{{"prompt": "{number}"}}')))
            world.dispatcher.handle(DispatchCommand(DispatchKind.SUBMIT, "acme", f"{number:026d}", "c-1"))
        world.pass_time(300)
        assert world.get_job(job).replicate_id == "p1"


class TestHarvests:
    def test_that_died_are_taken_up_when_the_lease_has_run_out(self, world: World) -> None:
        job = world.store.put(make_job(S.HARVESTING, next_check_at=PAST, lease_until=PAST, completed_at=NOW))
        assert world.run_sweep() == {CheckOutcome.HARVEST_RESUMED: 1}
        world.drain_messages()
        assert world.get_job(job).status is S.SUCCEEDED

    def test_that_always_die_end_with_what_there_is(self, world: World) -> None:
        ended = NOW - timedelta(hours=2)
        job = world.store.put(make_job(S.HARVESTING, next_check_at=PAST, completed_at=ended))
        assert world.run_sweep() == {CheckOutcome.FINISHED_WITH_SOURCE_URLS: 1}
        done = world.get_job(job)
        assert done.status is S.SUCCEEDED
        assert world.documents.load(done.output) == "https://replicate.delivery/a.png"


class TestSickJobs:
    def test_do_not_starve_the_others(self, world: World) -> None:
        """Replicate answers none of the older jobs, and each try costs ten seconds of the pass."""
        for _ in range(100):
            world.store.put(make_job(S.PROCESSING, next_check_at=NOW - timedelta(hours=1)))
        well = world.store.put(make_job(next_check_at=PAST))
        read = world.replicate.get

        def slow(prediction_id: str) -> UpstreamPrediction:
            world.clock.advance(10 / 8)
            return read(prediction_id)

        world.replicate.get = slow  # type: ignore[method-assign]  # one test's twist
        world.replicate.faults.fail("get", times=10_000)
        for _ in range(5):
            world.run_sweep()
            world.clock.advance(10)
        assert world.get_job(well).status is S.QUEUED
        assert len(world.messages) == 1, "the job in good health was not looked at"

    def test_come_again_ever_later(self, world: World) -> None:
        job = world.store.put(make_job(S.PROCESSING, next_check_at=PAST))
        world.replicate.faults.fail("get", times=10_000)
        looks = 0
        for _ in range(120):
            looks += sum(world.run_sweep().values())
            world.clock.advance(60)
        assert 12 <= looks <= 20
        assert world.get_job(job).status is S.PROCESSING

    def test_one_failed_look_after_many_fruitless_ones_costs_minutes(self, world: World) -> None:
        job = world.store.put(make_job(S.SUBMIT_UNKNOWN, next_check_at=PAST, create_sent_at=NOW, checks=9))
        world.replicate.faults.fail("list")
        assert world.run_sweep() == {CheckOutcome.CHECK_FAILED: 1}
        due_at = world.get_job(job).next_check_at
        assert due_at is not None
        assert due_at - NOW <= timedelta(minutes=10)

    def test_a_bug_in_one_look_is_not_the_end_of_the_pass(self, world: World) -> None:
        broken = world.store.put(make_job(S.HARVESTING, next_check_at=PAST, completed_at=NOW))
        well = world.store.put(make_job(next_check_at=PAST))

        def bug(_: Job) -> CheckOutcome:
            raise KeyError("bug")

        looks = {S.HARVESTING: bug, S.QUEUED: lambda _: CheckOutcome.STILL_RUNNING}
        sweep = Sweeper(store=world.store, handlers=looks, clock=world.clock, sleep=world.clock.sleep)
        result = sweep.sweep_jobs(NOW + timedelta(seconds=50))
        assert result.outcomes == {CheckOutcome.CHECK_FAILED: 1, CheckOutcome.STILL_RUNNING: 1}
        assert {broken.id, well.id} == {row.id for row in world.store.list_due_jobs(before=NOW, limit=9)}

    def test_a_pass_ends_though_no_look_moves_anything(self, world: World) -> None:
        for _ in range(300):
            world.store.put(make_job(next_check_at=PAST))
        looked: Counter[str] = Counter()

        def idle(job: Job) -> CheckOutcome:
            looked[job.id] += 1
            return CheckOutcome.STILL_RUNNING

        sweep = Sweeper(
            store=world.store, handlers={S.QUEUED: idle}, clock=world.clock, sleep=world.clock.sleep
        )
        result = sweep.sweep_jobs(NOW + timedelta(seconds=50))
        assert result.finished
        assert len(looked) == 300
        assert set(looked.values()) == {1}

    def test_an_index_that_fails_fails_the_pass(self, world: World) -> None:
        world.store.faults.fail("due")
        with pytest.raises(RetryableError):
            world.run_sweep()


def test_a_backlog_of_ten_thousand_is_worked_off_across_passes(world: World) -> None:
    # Given ten thousand queued jobs whose messages were lost, and looks that take 20 ms each
    for number in range(10_000):
        world.store.put(make_job(id=f"{number:026d}", next_check_at=NOW - timedelta(seconds=10_000 - number)))
    send = world.sweeper._handlers[S.QUEUED]

    def look(job: Job) -> CheckOutcome:
        world.clock.advance(0.02)
        return send(job)

    sweep = Sweeper(store=world.store, handlers={S.QUEUED: look}, clock=world.clock, sleep=world.clock.sleep)

    # When the sweep runs, with fifty seconds a pass
    began, passes, seen = time.perf_counter(), 0, 0
    while True:
        started = world.clock.now()
        result = sweep.sweep_jobs(started + timedelta(seconds=50))
        assert (world.clock.now() - started).total_seconds() < 51
        passes += 1
        seen += result.outcomes.get(CheckOutcome.SUBMIT_REQUEUED, 0)
        if result.finished:
            break
        assert passes < 20

    # Then every job was looked at, the one overdue the longest first, and in bearable time
    assert seen >= 10_000
    assert len({message.number for message in world.messages}) == seen
    assert passes >= 4
    assert time.perf_counter() - began < 60


def test_lingering_catches_what_falls_due_meanwhile(world: World) -> None:
    world.store.put(make_job(next_check_at=NOW + timedelta(seconds=5)))
    sweep = Sweeper(
        store=world.store,
        handlers={S.QUEUED: world.sweeper._handlers[S.QUEUED]},
        clock=world.clock,
        sleep=world.clock.sleep,
        duration_seconds=20,
    )
    result = sweep.sweep_jobs(NOW + timedelta(seconds=50))
    assert result.outcomes == {CheckOutcome.SUBMIT_REQUEUED: 1}
    assert world.clock.now() - NOW <= timedelta(seconds=22)
