"""The count on both sides: what the application was promised, what came of it, what Replicate was asked."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from replicate_proxy.aws.dynamodb import from_item
from replicate_proxy.aws.job_records import job_from_record
from replicate_proxy.jobs.model import TERMINAL_STATUSES, AttemptOutcome, Job
from tools.chaos.application import Application, UnreliableInbox
from tools.chaos.orders import ENDINGS, Order
from tools.local.stack import Stack
from tools.simulator.client import SimulatorClient

_ENDINGS = frozenset(status.value for status in TERMINAL_STATUSES)


def jobs_of(stack: Stack) -> Iterator[Job]:
    """Every job on record."""
    pages = (
        stack.get_client("dynamodb").get_paginator("scan").paginate(TableName=stack.outputs["JobsTableName"])
    )
    for page in pages:
        for item in page["Items"]:
            if item["sk"]["S"] == "JOB":
                yield job_from_record(from_item(item))


@dataclass
class Sightings:
    """Final states as they were seen over time, by whomever: there must be one for each job."""

    seen: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))

    def note(self, jobs: Iterable[Job]) -> None:
        for job in jobs:
            if job.is_terminal:
                self.seen[job.id].add(job.status.value)

    def told(self, statuses: Mapping[str, set[str]]) -> None:
        for job_id, told in statuses.items():
            self.seen[job_id] |= told & _ENDINGS


@dataclass(frozen=True)
class Findings:
    """Ids of the jobs that break a promise, by promise, and what is told apart from the bars."""

    accepted: int
    lost: Sequence[str]
    paid_twice: Sequence[str]
    not_terminal: Sequence[str]
    conflicting: Sequence[str]
    fresh_attempts: int
    untold: Sequence[str]
    left_outputs: int
    endings: Mapping[str, int]


def audit(
    application: Application,
    placed: Sequence[Order],
    jobs: Mapping[str, Job],
    sightings: Sightings,
    simulator: SimulatorClient,
    inbox: UnreliableInbox,
) -> Findings:
    """Compares the three records."""
    created: Mapping[str, int] = simulator.get_stats()["predictions_by_job"]
    upstream = {entry["id"]: entry for entry in simulator.call_control_api("GET", "predictions")["results"]}
    known = [
        (order, jobs[application.accepted[order.number]])
        for order in placed
        if application.accepted.get(order.number) in jobs
    ]
    missing = [job_id for job_id in application.accepted.values() if job_id not in jobs]
    wrong = [
        job.id for order, job in known if job.is_terminal and job.status.value not in ENDINGS[order.kind]
    ]
    told = inbox.statuses()
    return Findings(
        accepted=len(application.accepted),
        lost=[*missing, *wrong, *application.doubles],
        paid_twice=[job.id for _, job in known if created.get(job.id, 0) - _fresh(job) > 1],
        not_terminal=[job.id for _, job in known if not job.is_terminal],
        conflicting=[job.id for _, job in known if _conflicts(job, sightings, upstream)],
        fresh_attempts=sum(_fresh(job) for _, job in known),
        untold=[job.id for order, job in known if order.wants_webhook and not told.get(job.id)],
        left_outputs=sum(
            "127.0.0.1" in str(job.output) and "/delivery/" in str(job.output) for _, job in known
        ),
        endings=Counter(f"{order.kind} {job.status.value}" for order, job in known),
    )


def _fresh(job: Job) -> int:
    """Attempts that Replicate's own trouble ended: each is a prediction that was made and failed."""
    return sum(1 for past in job.past_attempts if past.outcome is AttemptOutcome.FAILED)


def _conflicts(job: Job, sightings: Sightings, upstream: Mapping[str, Mapping[str, Any]]) -> bool:
    """Two final states were seen, or ours is not what Replicate says of the job's prediction."""
    if len(sightings.seen[job.id] | {job.status.value} & _ENDINGS) > 1:
        return True
    theirs = upstream.get(job.replicate_id or "", {}).get("status")
    return job.is_terminal and theirs in _ENDINGS and theirs != job.status.value
