"""The audit of a chaos run detects every kind of violation."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import pytest

from replicate_proxy.jobs.model import AttemptOutcome, Cost, Document, Job, JobStatus, PastAttempt
from tests.support.builders import make_job
from tools.chaos.application import Application, UnreliableReceiver
from tools.chaos.audit import (
    AuditResult,
    MoneyAudit,
    ObservedStatuses,
    audit_jobs,
    audit_money,
    list_not_notified,
)
from tools.chaos.workload import TRANSIENT_ERROR, JobKind, PlannedJob
from tools.local.stack import Stack
from tools.simulator.client import SimulatorClient

FAILED_ATTEMPT = PastAttempt(
    attempt=1,
    outcome=AttemptOutcome.FAILED,
    replicate_id="r0",
    error=TRANSIENT_ERROR,
    ended_at=datetime(2026, 1, 1, tzinfo=UTC),
)

UNUSED_STACK = Stack("", "", "", "", "", "", "", "", "", webhooks_enabled=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class FakeSimulatorClient(SimulatorClient):
    """Returns the given number of predictions by job, and the given statuses by prediction."""

    url: str = "http://127.0.0.1:9"
    predictions_by_job: dict[str, int] = field(default_factory=dict)
    statuses: dict[str, str] = field(default_factory=dict)
    invoice_lines: tuple[dict[str, Any], ...] = ()

    def get_stats(self) -> dict[str, Any]:
        return {"predictions_by_job": self.predictions_by_job}

    def call_control_api(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        if path == "invoice":
            return {"lines": self.invoice_lines}
        return {"results": [{"id": id_, "status": status} for id_, status in self.statuses.items()]}


def make_succeeded_job(**changes: Any) -> Job:
    return replace(
        make_job(), id="j1", status=JobStatus.SUCCEEDED, replicate_id="r1", next_check_at=None, **changes
    )


def audit(
    stored_job: Job | None,
    *,
    kind: JobKind = JobKind.TEXT,
    prediction_count: int = 1,
    prediction_status: str = "succeeded",
    observed_statuses: frozenset[str] = frozenset(),
    duplicate_ids: tuple[str, ...] = (),
) -> AuditResult:
    """Audit one planned job, accepted as j1."""
    application = Application(UNUSED_STACK, "", 0, accepted={0: "j1"}, duplicate_ids=list(duplicate_ids))
    observed = ObservedStatuses()
    observed.by_job["j1"] |= observed_statuses
    return audit_jobs(
        application,
        [PlannedJob(0, "key", kind, 0.1, wants_webhook=False)],
        {stored_job.id: stored_job} if stored_job else {},
        observed,
        FakeSimulatorClient(predictions_by_job={"j1": prediction_count}, statuses={"r1": prediction_status}),
    )


def count_violations(result: AuditResult) -> tuple[int, int, int, int]:
    """Return the numbers of jobs that are lost, paid twice, not terminal, and conflicting."""
    return len(result.lost), len(result.paid_twice), len(result.not_terminal), len(result.conflicting)


def test_successful_job_violates_nothing() -> None:
    assert count_violations(audit(make_succeeded_job())) == (0, 0, 0, 0)


def test_accepted_job_that_is_not_stored_is_lost() -> None:
    assert count_violations(audit(None)) == (1, 0, 0, 0)


def test_job_with_unexpected_final_status_is_lost() -> None:
    failed = replace(make_succeeded_job(), status=JobStatus.FAILED)

    assert count_violations(audit(failed, prediction_status="failed")) == (1, 0, 0, 0)


@pytest.mark.parametrize("outcome", AttemptOutcome)
def test_job_falls_back_unless_the_outcome_of_an_attempt_is_unknown(outcome: AttemptOutcome) -> None:
    is_known = outcome in {AttemptOutcome.FAILED, AttemptOutcome.REJECTED}
    failed = replace(
        make_succeeded_job(past_attempts=(replace(FAILED_ATTEMPT, outcome=outcome),)), status=JobStatus.FAILED
    )

    lost = audit(failed, kind=JobKind.FALLBACK, prediction_status="failed").lost

    assert lost == (["j1"] if is_known else [])


def test_second_job_for_one_idempotency_key_is_lost() -> None:
    assert audit(make_succeeded_job(), duplicate_ids=("j2",)).lost == ["j2"]


def test_job_with_two_predictions_is_paid_twice() -> None:
    assert count_violations(audit(make_succeeded_job(), prediction_count=2)) == (0, 1, 0, 0)


def test_retry_after_transient_failure_is_not_paid_twice() -> None:
    result = audit(make_succeeded_job(past_attempts=(FAILED_ATTEMPT,)), prediction_count=2)

    assert (count_violations(result), result.retries) == ((0, 0, 0, 0), 1)


def test_resubmission_without_failed_prediction_is_paid_twice() -> None:
    attempt = replace(FAILED_ATTEMPT, outcome=AttemptOutcome.UNKNOWN, replicate_id=None)

    result = audit(make_succeeded_job(past_attempts=(attempt,)), prediction_count=2)

    assert count_violations(result) == (0, 1, 0, 0)


@pytest.mark.parametrize("status", [JobStatus.QUEUED, JobStatus.SUBMIT_UNKNOWN, JobStatus.HARVESTING])
def test_unfinished_job_is_not_terminal(status: JobStatus) -> None:
    assert count_violations(audit(replace(make_succeeded_job(), status=status))) == (0, 0, 1, 0)


def test_changed_final_status_is_a_conflict() -> None:
    result = audit(make_succeeded_job(), observed_statuses=frozenset({"failed"}))

    assert count_violations(result) == (0, 0, 0, 1)


def test_final_status_that_differs_from_prediction_is_a_conflict() -> None:
    assert count_violations(audit(make_succeeded_job(), prediction_status="canceled")) == (0, 0, 0, 1)


@pytest.mark.parametrize("wants_webhook", [True, False])
def test_job_without_requested_webhook_is_reported(*, wants_webhook: bool) -> None:
    application = Application(UNUSED_STACK, "", 0, accepted={0: "j1"})
    planned = PlannedJob(0, "key", JobKind.TEXT, 0.1, wants_webhook)
    job = make_succeeded_job()

    missed = list_not_notified(application, [planned], {"j1": job}, UnreliableReceiver("whsec_AAAA", 0))

    assert missed == ([job] if wants_webhook else [])


def test_output_with_source_url_is_counted() -> None:
    output = Document(text='["http://127.0.0.1:5000/delivery/x/0/out.png"]')

    assert audit(make_succeeded_job(output=output)).outputs_not_stored == 1


@pytest.mark.parametrize(
    ("cost", "billed", "is_wrong"),
    [
        (Cost(micro_usd=300), 300, False),
        (Cost(micro_usd=300), 0, True),
        (Cost(micro_usd=0), 300, True),
        (Cost(micro_usd=300, is_estimated=True), 400, False),
        (Cost(micro_usd=300, is_estimated=True), 299, True),
        (Cost(reason="no price is known"), 300, False),
    ],
)
def test_cost_is_what_was_billed_for_all_predictions_of_a_job(
    cost: Cost, billed: int, *, is_wrong: bool
) -> None:
    lines = [
        {"jobs": ["j1"], "micro_usd": billed - billed // 3},
        {"jobs": ["j1"], "micro_usd": billed // 3},
        {"jobs": ["j2"], "micro_usd": 7},
    ]

    result = audit_money([make_succeeded_job(cost=cost)], lines)

    assert result.wrong == (["j1"] if is_wrong else [])


def test_sums_are_those_of_the_jobs_with_an_exact_cost() -> None:
    jobs = [
        make_succeeded_job(cost=Cost(micro_usd=300)),
        replace(make_succeeded_job(cost=Cost(micro_usd=50, is_estimated=True)), id="j2"),
        replace(make_succeeded_job(cost=Cost(reason="no price is known")), id="j3"),
        replace(make_succeeded_job(), id="j4", status=JobStatus.QUEUED),
    ]
    lines = [{"jobs": [f"j{number}"], "micro_usd": 300} for number in range(1, 5)]

    assert audit_money(jobs, lines) == MoneyAudit([], billed=300, costs=300, estimates=1, unknown=1)
