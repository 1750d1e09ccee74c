"""The audit after a run: compares accepted requests, stored jobs, and Replicate's predictions."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from replicate_proxy.aws.dynamodb import from_item
from replicate_proxy.aws.job_records import job_from_record
from replicate_proxy.jobs.model import TERMINAL_STATUSES, AttemptOutcome, Job, JobStatus
from tools.chaos.application import Application, UnreliableReceiver
from tools.chaos.workload import EXPECTED_STATUSES, JobKind, PlannedJob
from tools.local.stack import Stack
from tools.simulator.client import SimulatorClient

_TERMINAL = frozenset(status.value for status in TERMINAL_STATUSES)


def read_jobs(stack: Stack) -> Iterator[Job]:
    """Yield every stored job."""
    paginator = stack.get_client("dynamodb").get_paginator("scan")
    for page in paginator.paginate(TableName=stack.outputs["JobsTableName"]):
        for item in page["Items"]:
            if item["sk"]["S"] == "JOB":
                yield job_from_record(from_item(item))


@dataclass
class ObservedStatuses:
    """Final statuses by job ID, as polling and webhooks showed them during the run. A job must have one."""

    by_job: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))

    def add_jobs(self, jobs: Iterable[Job]) -> None:
        """Record the final statuses of stored jobs."""
        for job in jobs:
            if job.is_terminal:
                self.by_job[job.id].add(job.status.value)

    def add_statuses(self, statuses: Mapping[str, set[str]]) -> None:
        """Record the final ones of the statuses that webhooks reported."""
        for job_id, job_statuses in statuses.items():
            self.by_job[job_id] |= job_statuses & _TERMINAL


@dataclass(frozen=True)
class MoneyAudit:
    """What Replicate has billed for jobs with a known cost, what they cost by their records, and the rest.

    `wrong` are jobs whose exact cost is not what was billed, or whose estimate is more than that. Amounts are
    in millionths of a US dollar.
    """

    wrong: Sequence[str] = ()
    billed: int = 0
    costs: int = 0
    estimates: int = 0
    unknown: int = 0


@dataclass(frozen=True)
class AuditResult:
    """The IDs of the jobs that violate each guarantee, and some numbers for information."""

    accepted: int
    lost: Sequence[str]
    paid_twice: Sequence[str]
    not_terminal: Sequence[str]
    conflicting: Sequence[str]
    retries: int
    outputs_not_stored: int
    money: MoneyAudit
    final_statuses: Mapping[str, int]


def audit_jobs(
    application: Application,
    planned_jobs: Sequence[PlannedJob],
    stored_jobs: Mapping[str, Job],
    observed: ObservedStatuses,
    simulator: SimulatorClient,
) -> AuditResult:
    """Compare what the application was promised with the stored jobs and with Replicate's predictions."""
    predictions_by_job: Mapping[str, int] = simulator.get_stats()["predictions_by_job"]
    listed = simulator.call_control_api("GET", "predictions")["results"]
    predictions = {prediction["id"]: prediction for prediction in listed}
    accepted_ids = application.accepted
    pairs = _find_pairs(application, planned_jobs, stored_jobs)
    missing = [job_id for job_id in accepted_ids.values() if job_id not in stored_jobs]
    unexpected = [job.id for planned, job in pairs if job.is_terminal and not _is_expected(planned, job)]
    return AuditResult(
        accepted=len(accepted_ids),
        lost=[*missing, *unexpected, *application.duplicate_ids],
        paid_twice=[
            job.id for _, job in pairs if predictions_by_job.get(job.id, 0) - _count_retries(job) > 1
        ],
        not_terminal=[job.id for _, job in pairs if not job.is_terminal],
        conflicting=[job.id for _, job in pairs if _has_conflict(job, observed, predictions)],
        retries=sum(_count_retries(job) for _, job in pairs),
        outputs_not_stored=sum(_has_source_url(job) for _, job in pairs),
        money=audit_money([job for _, job in pairs], simulator.call_control_api("GET", "invoice")["lines"]),
        final_statuses=Counter(f"{planned.kind} {job.status.value}" for planned, job in pairs),
    )


def list_not_notified(
    application: Application,
    planned_jobs: Sequence[PlannedJob],
    stored_jobs: Mapping[str, Job],
    receiver: UnreliableReceiver,
) -> list[Job]:
    """Return the jobs that asked for a webhook, and for which none has come."""
    notified = receiver.collect_statuses()
    pairs = _find_pairs(application, planned_jobs, stored_jobs)
    return [job for planned, job in pairs if planned.wants_webhook and not notified.get(job.id)]


def _find_pairs(
    application: Application, planned_jobs: Sequence[PlannedJob], stored_jobs: Mapping[str, Job]
) -> list[tuple[PlannedJob, Job]]:
    """Return each accepted job as it was planned and as it is stored."""
    ids = application.accepted
    return [
        (planned, stored_jobs[ids[planned.number]])
        for planned in planned_jobs
        if ids.get(planned.number) in stored_jobs
    ]


def _is_expected(planned: PlannedJob, job: Job) -> bool:
    """Return whether the job may have ended so. After an unknown outcome it fails instead of falling back."""
    is_uncertain = any(
        past.outcome not in {AttemptOutcome.FAILED, AttemptOutcome.REJECTED} for past in job.past_attempts
    )
    if planned.kind is JobKind.FALLBACK and is_uncertain and job.status is JobStatus.FAILED:
        return True
    return job.status.value in EXPECTED_STATUSES[planned.kind]


def audit_money(jobs: Iterable[Job], invoice_lines: Iterable[Mapping[str, Any]]) -> MoneyAudit:
    """Compare the costs of the jobs that are over with Replicate's invoice."""
    invoice: Counter[str] = Counter()
    for line in invoice_lines:
        for job_id in line["jobs"]:
            invoice[job_id] += line["micro_usd"]
    ended = [job for job in jobs if job.is_terminal]
    exact = [
        job for job in ended if job.cost and job.cost.micro_usd is not None and not job.cost.is_estimated
    ]
    estimates = [job for job in ended if job.cost and job.cost.is_estimated]
    wrong = [job.id for job in exact if _get_cost(job) != invoice[job.id]]
    return MoneyAudit(
        wrong=[*wrong, *(job.id for job in estimates if _get_cost(job) > invoice[job.id])],
        billed=sum(invoice[job.id] for job in exact),
        costs=sum(map(_get_cost, exact)),
        estimates=len(estimates),
        unknown=len(ended) - len(exact) - len(estimates),
    )


def _get_cost(job: Job) -> int:
    return (job.cost.micro_usd or 0) if job.cost else 0


def _count_retries(job: Job) -> int:
    """Return the number of past attempts with a prediction that failed transiently at Replicate."""
    return sum(1 for past in job.past_attempts if past.outcome is AttemptOutcome.FAILED)


def _has_source_url(job: Job) -> bool:
    return "127.0.0.1" in str(job.output) and "/delivery/" in str(job.output)


def _has_conflict(job: Job, observed: ObservedStatuses, predictions: Mapping[str, Mapping[str, Any]]) -> bool:
    """Return whether two final statuses were observed, or the status differs from that of its prediction."""
    if len(observed.by_job[job.id] | {job.status.value} & _TERMINAL) > 1:
        return True
    prediction_status = predictions.get(job.replicate_id or "", {}).get("status")
    return job.is_terminal and prediction_status in _TERMINAL and prediction_status != job.status.value
