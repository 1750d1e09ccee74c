"""Every end of a job is counted once, by status and reason, whichever function ends it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from replicate_proxy.contracts.commands import DispatchCommand, DispatchKind
from replicate_proxy.jobs.model import Document, EndReason, Job, JobStatus
from replicate_proxy.observability import Metric
from replicate_proxy.replicate_api.errors import OutcomeUnknownError, RejectedError, TokenRejectedError
from tests.support.metrics import MetricsReader
from tests.support.pipeline import Pipeline

S = JobStatus
METRICS = {S.SUCCEEDED: Metric.JOB_SUCCEEDED, S.FAILED: Metric.JOB_FAILED, S.CANCELED: Metric.JOB_CANCELED}


def run_job(pipeline: Pipeline, status: str, **fields: object) -> Job:
    """Run a job to the end that Replicate reports."""
    job = pipeline.accept_job().job
    pipeline.drain_messages()
    pipeline.replicate.finish("p1", status, **fields)
    pipeline.send_webhook("p1")
    pipeline.drain_messages()
    return job


def succeed(pipeline: Pipeline) -> Job:
    return run_job(pipeline, "succeeded")


def fail_at_replicate(pipeline: Pipeline) -> Job:
    return run_job(pipeline, "failed", error="bad input")


def cancel_at_replicate(pipeline: Pipeline) -> Job:
    return run_job(pipeline, "canceled")


def reject(pipeline: Pipeline) -> Job:
    pipeline.replicate.faults.fail("create", error=RejectedError(422, "Input validation failed", "prompt"))
    job = pipeline.accept_job().job
    pipeline.drain_messages()
    return job


def reject_without_credit(pipeline: Pipeline) -> Job:
    pipeline.replicate.faults.fail("create", error=RejectedError(402, "Insufficient credit", "add credit"))
    job = pipeline.accept_job().job
    pipeline.drain_messages()
    return job


def expire_in_queue(pipeline: Pipeline) -> Job:
    pipeline.replicate.create_delay_seconds = 600
    job = pipeline.accept_job().job
    pipeline.pass_time(25 * 3600, step_seconds=900)
    return job


def pass_deadline_in_queue(pipeline: Pipeline) -> Job:
    pipeline.replicate.create_delay_seconds = 600
    job = pipeline.accept_job(cancel_after_seconds=60).job
    pipeline.pass_time(900)
    return job


def lose_output(pipeline: Pipeline) -> Job:
    job = pipeline.put_job(S.PROCESSING)
    pipeline.pass_time(300)
    return job


def end_with_unknown_status(pipeline: Pipeline) -> Job:
    job = pipeline.accept_job().job
    pipeline.drain_messages()
    pipeline.replicate.finish("p1", "evaporated")
    pipeline.pass_time(900)
    return job


def give_up_unknown_outcome(pipeline: Pipeline) -> Job:
    pipeline.replicate.faults.fail("create", error=OutcomeUnknownError("no response"), times=10)
    job = pipeline.accept_job().job
    pipeline.pass_time(3600)
    return job


def lose_account(pipeline: Pipeline) -> Job:
    now = pipeline.clock.now()
    job = pipeline.put_job(
        S.PROCESSING,
        replicate_id="p1",
        replicate_account="own",
        create_sent_at=now - timedelta(hours=25),
        next_check_at=now,
    )
    replicate = pipeline.get_replicate(job.account)
    replicate.faults.fail("get", error=TokenRejectedError("Replicate rejects our token"))
    pipeline.run_sweep()
    return job


def cancel_in_queue(pipeline: Pipeline) -> Job:
    pipeline.replicate.create_delay_seconds = 600
    job = pipeline.accept_job().job
    pipeline.canceler.request_cancel(job)
    return job


def cancel_before_message_is_handled(pipeline: Pipeline) -> Job:
    job = pipeline.put_job(S.QUEUED, cancel_requested_at=pipeline.clock.now())
    pipeline.dispatcher.handle_command(DispatchCommand.for_job(DispatchKind.SUBMIT, job))
    return job


def cancel_while_running(pipeline: Pipeline) -> Job:
    job = pipeline.accept_job().job
    pipeline.drain_messages()
    pipeline.canceler.request_cancel(pipeline.get_job(job))
    pipeline.drain_messages()
    return job


def report_requested_cancel(pipeline: Pipeline) -> Job:
    job = pipeline.accept_job().job
    pipeline.drain_messages()
    pipeline.store.put(replace(pipeline.get_job(job), cancel_requested_at=pipeline.clock.now()))
    pipeline.replicate.finish("p1", "canceled")
    pipeline.send_webhook("p1")
    pipeline.drain_messages()
    return job


def give_up_harvest_in_round(pipeline: Pipeline) -> Job:
    pipeline.output_harvester.faults.fail("harvest", times=10_000)
    job = run_job(pipeline, "succeeded")
    pipeline.pass_time(2 * 3600)
    return job


def give_up_harvest_in_sweep(pipeline: Pipeline) -> Job:
    started_at = pipeline.clock.now() - timedelta(hours=2)
    job = pipeline.put_job(S.HARVESTING, completed_at=started_at, next_check_at=pipeline.clock.now())
    pipeline.run_sweep()
    return job


def harvest_without_source_output(pipeline: Pipeline) -> Job:
    gone = Document(object_key="records/gone.json")
    started_at = pipeline.clock.now() - timedelta(hours=2)
    job = pipeline.put_job(S.HARVESTING, replicate_output=gone, completed_at=started_at)
    pipeline.pass_time(300)
    return job


ENDS: dict[Callable[[Pipeline], Job], tuple[JobStatus, EndReason]] = {
    succeed: (S.SUCCEEDED, EndReason.HARVESTED),
    fail_at_replicate: (S.FAILED, EndReason.REPORTED),
    cancel_at_replicate: (S.CANCELED, EndReason.REPORTED),
    reject: (S.FAILED, EndReason.REJECTED),
    reject_without_credit: (S.FAILED, EndReason.NO_CREDIT),
    expire_in_queue: (S.FAILED, EndReason.EXPIRED),
    pass_deadline_in_queue: (S.CANCELED, EndReason.DEADLINE_PASSED),
    lose_output: (S.FAILED, EndReason.OUTPUT_LOST),
    end_with_unknown_status: (S.FAILED, EndReason.UNKNOWN_STATUS),
    lose_account: (S.FAILED, EndReason.ACCOUNT_LOST),
    give_up_unknown_outcome: (S.FAILED, EndReason.UNRESOLVED),
    cancel_in_queue: (S.CANCELED, EndReason.CANCEL_REQUESTED),
    cancel_before_message_is_handled: (S.CANCELED, EndReason.CANCEL_REQUESTED),
    cancel_while_running: (S.CANCELED, EndReason.CANCEL_REQUESTED),
    report_requested_cancel: (S.CANCELED, EndReason.CANCEL_REQUESTED),
    give_up_harvest_in_round: (S.SUCCEEDED, EndReason.HARVEST_GIVEN_UP),
    give_up_harvest_in_sweep: (S.SUCCEEDED, EndReason.HARVEST_GIVEN_UP),
    harvest_without_source_output: (S.SUCCEEDED, EndReason.HARVEST_GIVEN_UP),
}


@pytest.mark.parametrize("end_job", ENDS, ids=lambda end_job: end_job.__name__)
def test_end_is_counted_once_by_status_and_reason(
    end_job: Callable[[Pipeline], Job], emitted: MetricsReader
) -> None:
    pipeline = Pipeline()
    status, reason = ENDS[end_job]

    job = end_job(pipeline)

    assert pipeline.get_job(job).status is status
    assert emitted.sum_by(METRICS[status], "reason") == {(reason,): 1}
    assert {other: emitted.sum(metric) for other, metric in METRICS.items()} == {
        other: int(other is status) for other in METRICS
    }
    # Every end has a value of each metric, so that none is missing where all jobs end alike.
    assert [len(emitted.values(metric)) for metric in METRICS.values()] == [1, 1, 1]
    assert len(emitted.values(Metric.JOB_SECONDS)) == 1


def test_every_reason_is_tested() -> None:
    assert {reason for _, reason in ENDS.values()} == set(EndReason)


def test_job_seconds_are_from_acceptance_to_end(emitted: MetricsReader) -> None:
    pipeline = Pipeline()
    pass_deadline_in_queue(pipeline)

    assert emitted.values(Metric.JOB_SECONDS) == [630]
    assert emitted.values(Metric.HARVEST_SECONDS) == []


def test_harvest_seconds_include_harvest_that_was_given_up(emitted: MetricsReader) -> None:
    pipeline = Pipeline()
    give_up_harvest_in_sweep(pipeline)

    assert emitted.values(Metric.HARVEST_SECONDS) == [7200]


def test_conflicting_and_repeated_ends_are_counted_once(emitted: MetricsReader) -> None:
    pipeline = Pipeline()
    job = succeed(pipeline)
    pipeline.send_webhook("p1")
    pipeline.drain_messages()
    pipeline.canceler.request_cancel(pipeline.get_job(job))

    assert emitted.sum_by(Metric.JOB_SUCCEEDED, "reason") == {("harvested",): 1}
    assert emitted.sum(Metric.JOB_CANCELED) == 0


@pytest.mark.parametrize("end_job", [give_up_harvest_in_round, give_up_harvest_in_sweep])
def test_files_of_harvest_that_was_given_up_are_counted_as_not_stored(
    end_job: Callable[[Pipeline], Job], emitted: MetricsReader
) -> None:
    pipeline = Pipeline()

    job = end_job(pipeline)

    assert emitted.sum_by(Metric.FILE_NOT_STORED, "outcome", "reason") == {
        ("not_stored", "harvest_given_up"): 1
    }
    records = pipeline.documents.load(pipeline.get_job(job).files)
    assert [(record["outcome"], record["reason"]) for record in records] == [
        ("not_stored", "harvest_given_up")
    ]


def test_lost_output_is_counted(emitted: MetricsReader) -> None:
    pipeline = Pipeline()
    lose_output(pipeline)
    harvest_without_source_output(pipeline)

    assert emitted.sum(Metric.OUTPUT_LOST) == 2


def test_age_of_waiting_job_is_recorded_each_time_it_is_requeued(emitted: MetricsReader) -> None:
    pipeline = Pipeline()
    pipeline.replicate.create_delay_seconds = 60
    pipeline.accept_job()
    pipeline.pass_time(180, step_seconds=60)

    assert emitted.values(Metric.QUEUE_AGE_SECONDS) == [60, 120, 180]
    assert emitted.values(Metric.QUEUE_SECONDS) == []


def test_age_of_harvest_is_recorded_each_time_it_continues_later(emitted: MetricsReader) -> None:
    pipeline = Pipeline()
    pipeline.output_harvester.faults.fail("harvest", times=3)
    run_job(pipeline, "succeeded")
    pipeline.pass_time(300, step_seconds=5)

    assert emitted.values(Metric.HARVEST_AGE_SECONDS) == [0, 5, 25]
