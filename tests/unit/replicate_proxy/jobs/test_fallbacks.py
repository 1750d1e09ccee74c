"""Fallbacks: what else runs once a target fails for good."""

from __future__ import annotations

from typing import Any

import pytest

from replicate_proxy.aws.job_records import job_from_record, record_from_job
from replicate_proxy.jobs.changes import Rejected
from replicate_proxy.jobs.model import (
    AttemptOutcome,
    Document,
    Fallback,
    FallbackCause,
    Job,
    JobStatus,
    PastAttempt,
    Submission,
    SubmissionKind,
)
from replicate_proxy.services.sent_input import load_sent_input
from tests.support.builders import make_job, make_report
from tests.support.clock import NOW
from tests.support.fakes import FakeDocumentStore
from tests.support.state_machine import apply_change, apply_changes

S = JobStatus
FIRST = Submission(kind=SubmissionKind.MODEL, owner="acme", name="first")
SECOND = Submission(kind=SubmissionKind.MODEL, owner="acme", name="second")
THIRD = Submission(kind=SubmissionKind.DEPLOYMENT, owner="acme", name="third")
PRICE = {"per_run": "0.25", "source": "https://replicate.com/acme", "as_of": "2026-11-01"}
FALLBACKS = (Fallback(submission=SECOND, fields={"prompt": "text"}, price=PRICE), Fallback(submission=THIRD))
TRANSIENT = make_report("failed", error="Director: unexpected error handling prediction (E9828)")
GONE = Rejected(attempt=1, error="Not found", is_target_gone=True)


def make_job_with_fallbacks(status: JobStatus, **fields: Any) -> Job:
    defaults = {"submission": FIRST, "fallbacks": FALLBACKS, "fallback_causes": tuple(FallbackCause)}
    return make_job(status, **{**defaults, **fields})


def fail_transiently(job: Job) -> Job:
    """Let the present attempt run and fail."""
    report = make_report("failed", attempt=job.attempt, replicate_id=f"p{job.attempt}", error=TRANSIENT.error)
    return apply_change(job, report)


def test_job_goes_on_with_its_fallback_after_its_retries() -> None:
    retried = fail_transiently(make_job_with_fallbacks(S.PROCESSING, version="v1"))
    assert (retried.submission, retried.attempt, retried.version) == (FIRST, 2, "v1")

    job = fail_transiently(retried)

    assert (job.status, job.attempt, job.submission) == (S.QUEUED, 3, SECOND)
    assert (job.model, job.requested_model, job.price) == ("acme/second", "acme/first", PRICE)
    assert (job.version, job.input_fields) == (None, {"prompt": "text"})
    assert [(past.target, past.outcome) for past in job.past_attempts] == [
        ("acme/first", AttemptOutcome.FAILED),
        ("acme/first", AttemptOutcome.FAILED),
    ]


def test_every_target_has_its_retries_and_the_last_failure_ends_the_job() -> None:
    job = make_job_with_fallbacks(S.PROCESSING)
    targets = []
    while not job.is_terminal:
        targets.append(job.submission.target)
        job = fail_transiently(job)

    assert targets == ["acme/first"] * 2 + ["acme/second"] * 2 + ["deployments/acme/third"] * 2
    assert job.status is S.FAILED
    assert job.requested_model == "acme/first"


def test_job_goes_on_at_once_if_its_target_is_gone() -> None:
    job = apply_change(make_job_with_fallbacks(S.SUBMITTING), GONE)

    assert (job.status, job.submission) == (S.QUEUED, SECOND)
    assert job.past_attempts[0].outcome is AttemptOutcome.REJECTED


@pytest.mark.parametrize(
    "fields",
    [
        {"fallbacks": ()},
        {"fallback_causes": (FallbackCause.TRANSIENT_FAILURE,)},
        {"cancel_requested_at": NOW},
        {"is_streamed": True},
        {
            "past_attempts": (
                PastAttempt(
                    attempt=0, outcome=AttemptOutcome.UNKNOWN, replicate_id=None, error="", ended_at=NOW
                ),
            )
        },
    ],
    ids=["none left", "not for this cause", "canceled", "streamed", "earlier outcome unknown"],
)
def test_job_ends_without_fallback(fields: dict[str, Any]) -> None:
    assert apply_change(make_job_with_fallbacks(S.SUBMITTING, **fields), GONE).status is S.FAILED


def test_job_ends_without_fallback_once_its_output_may_be_read() -> None:
    fields = {"started_at": NOW, "partial_output": Document(text='["The"]')}

    failed = fail_transiently(make_job_with_fallbacks(S.PROCESSING, **fields))

    assert (failed.status, failed.submission) == (S.FAILED, FIRST)


def test_other_rejections_and_failures_end_the_job() -> None:
    rejected = apply_change(make_job_with_fallbacks(S.SUBMITTING), Rejected(attempt=1, error="bad input"))
    failed = apply_changes(make_job_with_fallbacks(S.PROCESSING), [make_report("failed", error="bad input")])

    assert rejected.status is failed.status is S.FAILED


def test_job_with_fallbacks_is_read_as_it_was_stored() -> None:
    job = apply_change(make_job_with_fallbacks(S.SUBMITTING), GONE)
    record = {name: value for name, value in record_from_job(job).items() if value is not None}

    assert job_from_record(record) == job


def test_fields_of_the_input_are_renamed_or_left_out() -> None:
    documents = FakeDocumentStore()
    document = documents.save("acme", "j", "input", {"prompt": "a cat", "steps": 4, "seed": 1})
    job = make_job(S.QUEUED, input=document, input_fields={"prompt": "text", "steps": None, "other": "x"})

    assert load_sent_input(job, documents) == {"text": "a cat", "seed": 1}
