"""Every decision about a job is one log line with the job's IDs and the reason."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from replicate_proxy.jobs.model import JobStatus
from replicate_proxy.replicate_api.errors import (
    BreakerOpenError,
    NotAcceptedError,
    OutcomeUnknownError,
    RejectedError,
)
from tests.support.logs import LogReader, read_log
from tests.support.pipeline import Pipeline

if TYPE_CHECKING:
    from collections.abc import Iterator

    from replicate_proxy.jobs.model import Job


@pytest.fixture
def log() -> Iterator[LogReader]:
    with read_log() as reader:
        yield reader


def list_changes(log: LogReader, job: Job) -> list[tuple[str, str, str, str | None]]:
    """Return (change, status before, status after, reason) of the job's lines; all have its IDs."""
    records = log.find("job changed")
    for record in records:
        assert (record["job_id"], record["tenant"]) == (job.id, job.tenant)
        assert record["correlation_id"] == job.correlation_id
    return [
        (record["change"], record["previous_status"], record["status"], record.get("reason"))
        for record in records
    ]


def test_successful_job_has_a_line_for_each_change(log: LogReader) -> None:
    pipeline = Pipeline()
    job = pipeline.accept_job().job
    pipeline.drain_messages()
    pipeline.replicate.finish("p1", "succeeded")
    pipeline.send_webhook("p1")
    pipeline.drain_messages()

    assert list_changes(log, job) == [
        ("Claimed", "queued", "submitting", None),
        ("Accepted", "submitting", "submitted", None),
        ("Reported", "submitted", "harvesting", "Replicate reported succeeded by webhook"),
        ("Harvested", "harvesting", "succeeded", "harvested"),
    ]


def test_rejected_job_says_so_without_replicates_text(log: LogReader) -> None:
    pipeline = Pipeline()
    pipeline.replicate.faults.fail(
        "create", error=RejectedError(422, "Input validation failed", "secret prompt")
    )
    job = pipeline.accept_job().job
    pipeline.drain_messages()

    assert list_changes(log, job)[-1] == ("Rejected", "submitting", "failed", "rejected")
    assert "secret prompt" not in json.dumps(log.records)


@pytest.mark.parametrize(
    ("error", "change", "status"),
    [
        (NotAcceptedError("no connection"), "Released", "queued"),
        (BreakerOpenError("open", retry_after=5), "Released", "queued"),
        (OutcomeUnknownError("timeout"), "OutcomeUnknown", "submit_unknown"),
    ],
)
def test_job_that_is_not_submitted_has_a_line_with_the_reason(
    log: LogReader, error: Exception, change: str, status: str
) -> None:
    pipeline = Pipeline()
    pipeline.replicate.faults.fail("create", error=error)
    job = pipeline.accept_job().job
    pipeline.drain_messages()

    assert list_changes(log, job)[-1][:3] == (change, "submitting", status)
    reasons = [record.get("reason") for record in log.records if record["level"] == "WARNING"]
    assert type(error).__name__ in reasons


def test_waiting_job_has_a_line(log: LogReader) -> None:
    pipeline = Pipeline()
    pipeline.replicate.create_delay_seconds = 30
    job = pipeline.accept_job().job
    pipeline.drain_messages()

    assert list_changes(log, job) == [("CheckScheduled", "queued", "queued", None)]


def test_overdue_job_has_a_line_for_its_check(log: LogReader) -> None:
    pipeline = Pipeline()
    job = pipeline.accept_job().job
    pipeline.messages.clear()
    pipeline.clock.advance(pipeline.timeouts.queued_seconds + 1)
    pipeline.run_sweep()

    [checked] = log.find("job checked")
    assert (checked["job_id"], checked["tenant"]) == (job.id, job.tenant)
    assert (checked["status"], checked["outcome"]) == (JobStatus.QUEUED.value, "submit_requeued")


def test_lines_have_no_input_and_no_output(log: LogReader) -> None:
    pipeline = Pipeline()
    pipeline.accept_job("a secret prompt")
    pipeline.drain_messages()
    pipeline.replicate.finish("p1", "succeeded", output="a secret output")
    pipeline.send_webhook("p1")
    pipeline.drain_messages()

    assert log.find("job changed")
    assert "secret" not in json.dumps(log.records)
