"""A second handler runs in the middle of another one's step: neither undoes what the other has done."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from replicate_proxy.contracts.events import PredictionReport
from replicate_proxy.jobs.changes import StaleChangeError
from replicate_proxy.jobs.model import Job, JobStatus, ReportChannel
from replicate_proxy.outputs.records import FileOutcome, FileRecord, HarvestResult
from replicate_proxy.ports import PredictionClaim
from replicate_proxy.replicate_api.errors import OutcomeUnknownError, UpstreamUnavailableError
from replicate_proxy.services.report_change import build_accepted_change
from tests.support.pipeline import Pipeline

if TYPE_CHECKING:
    from collections.abc import Callable

S = JobStatus
SOURCE_URL = "https://replicate.delivery/out-0.png"
# Too long to be kept in the record of the job.
LONG_TEXT = "x" * 20_000


@pytest.fixture
def pipeline() -> Pipeline:
    return Pipeline()


def run_inside(target: Any, method: str, function: Callable[[], None], *, call: int = 1) -> None:
    """Run the function before the given call of a port's method takes effect."""
    original = getattr(target, method)
    calls = 0

    def call_after_function(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call:
            function()
        return original(*arguments, **options)

    setattr(target, method, call_after_function)


def accept_job_with_lost_response(pipeline: Pipeline) -> Job:
    """Return a job whose prediction was created, which is unknown here."""
    pipeline.replicate.faults.fail("create_response", error=OutcomeUnknownError("reset"))
    job = pipeline.accept_job().job
    pipeline.drain_messages()
    return job


def build_success_report(pipeline: Pipeline, job: Job) -> PredictionReport:
    return PredictionReport(
        tenant=job.tenant,
        job_id=job.id,
        attempt=1,
        status="succeeded",
        channel=ReportChannel.WEBHOOK,
        received_at=pipeline.clock.now(),
        prediction=pipeline.replicate.predictions["p1"],
    )


def test_failed_poll_leaves_lease_of_harvester_that_began_meanwhile(pipeline: Pipeline) -> None:
    # Given a running job whose webhook does not come in time
    job = pipeline.accept_job().job
    pipeline.drain_messages()
    pipeline.replicate.finish("p1")
    pipeline.clock.advance(pipeline.timeouts.webhook_seconds + 1)
    harvester_leases = []

    def begin_harvest() -> None:
        report = build_success_report(pipeline, job)
        deadline = pipeline.clock.now() + timedelta(seconds=300)
        acquired = pipeline.harvester._acquire(report, deadline)
        assert acquired is not None
        harvester_leases.append(acquired.lease_until)

    # When a poll of it fails, and during the call the webhook comes and a harvester begins
    run_inside(pipeline.replicate, "get", begin_harvest)
    pipeline.replicate.faults.fail("get", error=UpstreamUnavailableError("no response"))
    pipeline.run_sweep()

    # Then the harvester has the job for itself
    assert pipeline.get_job(job).status is S.HARVESTING
    assert [pipeline.get_job(job).lease_until] == harvester_leases


def test_harvester_that_ends_after_its_successor_leaves_the_output(pipeline: Pipeline) -> None:
    # Given a harvester whose lease ends before it has stored the file
    job = pipeline.accept_job().job
    pipeline.drain_messages()
    pipeline.replicate.finish("p1")
    report = build_success_report(pipeline, job)

    stored = ["https://outputs.test/0.webp", LONG_TEXT]
    not_stored = [SOURCE_URL, LONG_TEXT]

    def run_successor() -> None:
        pipeline.clock.advance(301)
        record = FileRecord((0,), FileOutcome.STORED, stored[0])
        pipeline.output_harvester.results = [HarvestResult(output=stored, records=(record,))]
        pipeline.harvester.harvest_job(report, pipeline.clock.now() + timedelta(seconds=300))
        record = FileRecord((0,), FileOutcome.NOT_STORED, SOURCE_URL, "unavailable")
        pipeline.output_harvester.results = [HarvestResult(output=not_stored, records=(record,))]

    # When its successor stores it and finishes the job, and then the first one ends without it
    run_inside(pipeline.output_harvester, "harvest", run_successor)
    pipeline.harvester.harvest_job(report, pipeline.clock.now() + timedelta(seconds=300))

    # Then the job shows the file that was stored
    finished = pipeline.get_job(job)
    assert finished.status is S.SUCCEEDED
    assert pipeline.documents.load(finished.output) == stored


def test_job_whose_webhook_comes_during_its_last_check_is_not_given_up(pipeline: Pipeline) -> None:
    # Given a job of unknown outcome, and one of another tenant that may own its prediction as well
    job = accept_job_with_lost_response(pipeline)
    now = pipeline.clock.now()
    pipeline.put_job(S.SUBMIT_UNKNOWN, tenant="globex", create_sent_at=now, next_check_at=now, created_at=now)

    def report_start() -> None:
        pipeline.replicate.start("p1")
        pipeline.send_webhook("p1")
        pipeline.drain_messages()

    # When the webhook comes between the reading and the writing of the check that gives the job up
    pipeline.clock.advance(1000)
    pipeline.store.put(replace(pipeline.get_job(job), checks=5))
    run_inside(pipeline.store, "dispute_prediction", report_start)
    pipeline.run_sweep()

    # Then it goes on, and gets its result
    assert pipeline.get_job(job).status is S.PROCESSING
    pipeline.replicate.finish("p1")
    pipeline.send_webhook("p1")
    pipeline.drain_messages()
    assert pipeline.get_job(job).status is S.SUCCEEDED


def test_job_that_another_dispatcher_submits_is_not_ended_by_its_deadline(pipeline: Pipeline) -> None:
    # Given a job whose message comes twice, the second time after its deadline
    job = pipeline.accept_job(cancel_after_seconds=5).job
    pipeline.messages.clear()

    def submit_elsewhere() -> None:
        # That dispatcher read the clock before the deadline.
        pipeline.clock.advance(-10)
        pipeline.dispatch_job(job)
        pipeline.clock.advance(10)

    # When the one that finds the deadline passed writes after the other one has submitted the job
    pipeline.clock.advance(10)
    run_inside(pipeline.store, "save", submit_elsewhere)
    pipeline.dispatch_job(job)

    # Then the job keeps its prediction
    assert (pipeline.get_job(job).status, pipeline.get_job(job).replicate_id) == (S.SUBMITTED, "p1")


def test_adoption_that_comes_too_late_leaves_no_claim(pipeline: Pipeline) -> None:
    # Given two equal jobs of unknown outcome, and a check that is about to give the first one p2
    first = accept_job_with_lost_response(pipeline)
    second = accept_job_with_lost_response(pipeline)
    held_back = pipeline.replicate.predictions.pop("p1")

    def report_own_prediction() -> None:
        pipeline.replicate.predictions["p1"] = held_back
        pipeline.replicate.start("p1")
        pipeline.send_webhook("p1")
        pipeline.drain_messages()

    # When the callback of its own prediction comes first
    pipeline.clock.advance(1000)
    pipeline.store.put(replace(pipeline.get_job(first), checks=5))
    run_inside(pipeline.store, "adopt_prediction", report_own_prediction)
    with pytest.raises(StaleChangeError):
        pipeline.check_handlers[S.SUBMIT_UNKNOWN](pipeline.get_job(first))

    # Then p2 is free for the second job, which is not sent again
    pipeline.pass_time(1800)
    assert pipeline.get_job(first).replicate_id == "p1"
    assert pipeline.get_job(second).replicate_id == "p2"
    assert set(pipeline.replicate.predictions) == {"p1", "p2"}


def test_prediction_without_data_is_no_ones_by_likeness(pipeline: Pipeline) -> None:
    # Given a job that was not accepted and one that was, with different inputs, and a list that is out of
    # reach until Replicate has removed the inputs
    pipeline.replicate.faults.fail("create", error=OutcomeUnknownError("reset"))
    lost = pipeline.accept_job("a dog").job
    pipeline.drain_messages()
    accepted = accept_job_with_lost_response(pipeline)
    pipeline.replicate.finish("p1")
    pipeline.replicate.faults.fail("list", times=1000)
    pipeline.pass_time(5400)
    pipeline.replicate.faults.planned.clear()
    pipeline.replicate.remove_data(older_than=timedelta(hours=1))

    pipeline.pass_time(3600)

    # Then neither takes it, and neither is sent again: it may be the other's
    assert pipeline.store.get_prediction_owner("p1") is None
    assert {pipeline.get_job(job).status for job in (lost, accepted)} == {S.FAILED}
    assert set(pipeline.replicate.predictions) == {"p1"}


def test_job_of_another_tenant_lets_go_of_the_prediction_that_a_callback_names(pipeline: Pipeline) -> None:
    # Given a prediction that was adopted by likeness
    owner = accept_job_with_lost_response(pipeline)
    adopter = pipeline.put_job(
        S.SUBMIT_UNKNOWN, tenant="globex", id="z" * 26, create_sent_at=pipeline.clock.now()
    )
    prediction = pipeline.replicate.get("p1")
    adopted = pipeline.updater.adopt_prediction(adopter, build_accepted_change(adopter, prediction))
    assert adopted.replicate_id == "p1"

    # When its callback names another job
    pipeline.replicate.start("p1")
    pipeline.send_webhook("p1")
    pipeline.drain_messages()
    pipeline.canceler.cancel_job("globex", adopter.id)
    pipeline.drain_messages()

    # Then the adopter holds it no more, and its cancel does not end the owner's
    assert pipeline.get_job(adopter).replicate_id is None
    assert pipeline.replicate.canceled == []
    assert pipeline.get_job(owner).status is S.PROCESSING
    claim = pipeline.store.get_prediction_owner("p1")
    assert claim is not None
    assert (claim.tenant, claim.job_id, claim.claim) == (owner.tenant, owner.id, PredictionClaim.CERTAIN)
