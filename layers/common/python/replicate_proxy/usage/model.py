"""Usage: what is counted, by tenant, UTC day, model and key. No I/O."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Self

from replicate_proxy.jobs.model import JobStatus, TimelineStep

if TYPE_CHECKING:
    from replicate_proxy.jobs.model import Job

# Names of models and subjects of tokens come from callers: longer ones are cut, and those beyond
# MAX_DAILY_ENTRIES of a tenant on a day are counted together. Both are part of a sort key, which DynamoDB
# limits to 1,024 bytes.
_MAX_NAME_BYTES = 200
MAX_DAILY_ENTRIES = 1000
OTHER = "other"


@dataclass(frozen=True, slots=True)
class UsageKey:
    """What usage is counted by; `day` is an ISO date in UTC, the day on which the jobs ended."""

    tenant: str
    day: str
    model: str
    key_id: str

    @classmethod
    def from_job(cls, job: Job) -> Self:
        ended_at = job.timeline.get(TimelineStep.FINISHED, job.created_at)
        model = job.model or job.submission.model_name or job.submission.version_id
        return cls(job.tenant, ended_at.date().isoformat(), _cut(model), _cut(job.key_id))

    def as_other(self) -> UsageKey:
        """Return the key of everything beyond the limit of its day."""
        return UsageKey(self.tenant, self.day, OTHER, OTHER)


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageCounts:
    """Numbers of jobs by outcome, and the sum of the costs that are known.

    `unknown_costs` and `estimated_costs` are the numbers of jobs whose cost is not known, or an estimate.
    `tenant_billed_micro_usd` is the part of the sum that Replicate bills to accounts of tenants.
    """

    succeeded: int = 0
    failed: int = 0
    canceled: int = 0
    cost_micro_usd: int = 0
    unknown_costs: int = 0
    estimated_costs: int = 0
    tenant_billed_micro_usd: int = 0

    @classmethod
    def from_job(cls, job: Job) -> Self:
        cost = job.cost
        is_known = cost is not None and cost.micro_usd is not None
        micro_usd = (cost.micro_usd or 0) if cost is not None else 0
        return cls(
            succeeded=int(job.status is JobStatus.SUCCEEDED),
            failed=int(job.status is JobStatus.FAILED),
            canceled=int(job.status is JobStatus.CANCELED),
            cost_micro_usd=micro_usd,
            unknown_costs=int(not is_known),
            estimated_costs=int(cost is not None and cost.is_estimated),
            tenant_billed_micro_usd=0 if job.account.is_shared else micro_usd,
        )

    @property
    def jobs(self) -> int:
        return self.succeeded + self.failed + self.canceled

    def __add__(self, other: UsageCounts) -> UsageCounts:
        return UsageCounts(**{name: getattr(self, name) + getattr(other, name) for name in COUNTERS})


COUNTERS = tuple(field.name for field in fields(UsageCounts))


@dataclass(frozen=True, slots=True)
class UsageEntry:
    """What was counted under one key."""

    key: UsageKey
    counts: UsageCounts


@dataclass(frozen=True, slots=True)
class Settlement:
    """What the end of a job changes in a budget window, in millionths of a US dollar.

    `committed_micro_usd` is negative if the job cost less than it had reserved.
    """

    window: str
    committed_micro_usd: int
    spent_micro_usd: int


@dataclass(frozen=True, slots=True)
class EndedJob:
    """A job that has ended, as usage counts it: once. So its reservation is settled once, too."""

    tenant: str
    id: str
    entry: UsageEntry
    settlements: tuple[Settlement, ...] = ()
    # The large batch whose progress it is, if it is a job of one.
    batch_id: str | None = None

    @classmethod
    def from_job(cls, job: Job) -> Self:
        entry = UsageEntry(UsageKey.from_job(job), UsageCounts.from_job(job))
        batch_id = job.batch_id if job.batch_line is not None else None
        return cls(job.tenant, job.id, entry, settle_reservation(job), batch_id)


def _cut(name: str) -> str:
    """Return the name, or as many of its first characters as fit into the maximum of bytes."""
    return name.encode(errors="replace")[:_MAX_NAME_BYTES].decode(errors="ignore")


def settle_reservation(job: Job) -> tuple[Settlement, ...]:
    """Return what the end of the job changes in its windows.

    Of unknown cost, all that was reserved counts as spent. So it does of an estimate, which is less than what
    may be billed, unless the part that is known is more.
    """
    if job.reservation is None:
        return ()
    reserved = job.reservation.micro_usd
    if job.cost is None or job.cost.micro_usd is None:
        spent = reserved
    elif job.cost.is_estimated:
        spent = max(job.cost.micro_usd, reserved)
    else:
        spent = job.cost.micro_usd
    return tuple(Settlement(window, spent - reserved, spent) for window in job.reservation.windows)
