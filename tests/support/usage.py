"""Usage over the simulation's AWS, and jobs that have ended."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from replicate_proxy.aws.budget_store import DynamoBudgetStore
from replicate_proxy.aws.usage_store import DynamoUsageReports, DynamoUsageStore
from replicate_proxy.budgets.alerts import BudgetAlerts
from replicate_proxy.budgets.gate import BudgetGate
from replicate_proxy.jobs.model import Cost, JobStatus, TimelineStep
from replicate_proxy.webhooks.model import JobChange
from tests.support.aws import USAGE_TABLE, create_in_memory_aws
from tests.support.builders import make_job
from tests.support.clock import NOW, FakeClock
from tests.support.fakes import FakeEventBus

if TYPE_CHECKING:
    from collections.abc import Callable

    from replicate_proxy.aws.budget_store import DynamoBudgetedJobs
    from replicate_proxy.jobs.model import Job
    from replicate_proxy.services.ingest import JobRequest


class DynamoUsage(DynamoUsageStore, DynamoUsageReports):
    """Writes and reads."""


def build_usage_store(**settings: Any) -> DynamoUsage:
    """Return an empty store in memory."""
    return DynamoUsage(create_in_memory_aws().client("dynamodb"), USAGE_TABLE, **settings)


def build_budget_store() -> DynamoBudgetStore:
    """Return an empty store of limits in memory."""
    return DynamoBudgetStore(create_in_memory_aws().client("dynamodb"), USAGE_TABLE)


def build_budget_gate(
    store: DynamoBudgetedJobs,
    clock: FakeClock,
    estimate: Callable[[JobRequest], int] = lambda _: 40,
    bus: FakeEventBus | None = None,
) -> BudgetGate:
    """Return a gate whose requests cost at most 40, unless `estimate` says otherwise."""
    return BudgetGate(
        store=store,
        alerts=BudgetAlerts(store, bus or FakeEventBus(), clock),
        estimate=estimate,
        clock=clock,
        sleep=clock.sleep,
        random_fraction=lambda: 0.5,
    )


def make_ended_job(
    status: JobStatus = JobStatus.SUCCEEDED, *, micro_usd: int | None = 3000, days: int = 0, **fields: Any
) -> Job:
    """Return a job that ended so many days after NOW."""
    cost = Cost(micro_usd=micro_usd) if micro_usd is not None else Cost(reason="no price is known")
    timeline = {TimelineStep.FINISHED: NOW + timedelta(days=days)}
    return make_job(status, **{"model": "acme/flux", "cost": cost, "timeline": timeline, **fields})


def make_change(job: Job) -> JobChange:
    """Return the change that ended the job."""
    return JobChange(make_job(JobStatus.PROCESSING, id=job.id, tenant=job.tenant), job)
