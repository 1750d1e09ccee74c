"""Concurrency limits over the simulation's AWS, for unit tests."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from replicate_proxy.aws.control_table import ControlTable
from replicate_proxy.aws.job_store import DynamoJobStore
from replicate_proxy.aws.slot_store import DynamoSlotStore
from replicate_proxy.aws.tenant_limit_store import DynamoTenantLimitStore
from replicate_proxy.concurrency.gate import SlotGate
from replicate_proxy.concurrency.limits import ConcurrencyLimits
from replicate_proxy.concurrency.line import WaitingLine
from replicate_proxy.concurrency.releases import SlotReleaser
from replicate_proxy.concurrency.repair import SlotRepair
from replicate_proxy.jobs.timeouts import JobTimeouts
from replicate_proxy.jobs.updater import JobUpdater
from replicate_proxy.model_entries.directory import ModelEntryDirectory
from replicate_proxy.operations.concurrency import ConcurrencyService
from replicate_proxy.webhooks.model import JobChange
from tests.support.audit import NoAuditLog
from tests.support.aws import CONTROL_TABLE, JOBS_TABLE, create_in_memory_aws
from tests.support.builders import make_job
from tests.support.clock import FakeClock
from tests.support.fakes import Faults
from tests.support.model_entries import FakeModelEntryStore

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from replicate_proxy.audit.log import AuditLog
    from replicate_proxy.contracts.commands import DispatchCommand
    from replicate_proxy.jobs.changes import Change
    from replicate_proxy.jobs.model import Job
    from tools.simulation.aws import InMemoryAws


@dataclass
class FakeBatchQueue:
    """The dispatch queue, for many commands at once."""

    commands: list[DispatchCommand] = field(default_factory=list)
    faults: Faults = field(default_factory=Faults)

    def send(self, command: DispatchCommand, *, delay_seconds: float = 0) -> None:
        raise NotImplementedError

    def send_all(self, commands: Sequence[DispatchCommand]) -> None:
        self.faults.raise_planned("send_all")
        self.commands += commands

    def take_ids(self) -> list[str]:
        """Return the jobs whose commands were sent since the last call."""
        ids = [command.job_id for command in self.commands]
        self.commands.clear()
        return ids


class Concurrency:
    """Limits, slots, lines and jobs; nothing is cached."""

    def __init__(
        self,
        *,
        default_for_tenants: int = 0,
        model_entries: FakeModelEntryStore | None = None,
        audit: AuditLog | None = None,
    ) -> None:
        self.aws: InMemoryAws = create_in_memory_aws()
        client: Any = self.aws.client("dynamodb")
        self.clock = FakeClock()
        self.jobs = DynamoJobStore(client, JOBS_TABLE)
        self.updater = JobUpdater(self.jobs, self.clock, JobTimeouts())
        self.slots = DynamoSlotStore(client, control_table=CONTROL_TABLE, jobs_table=JOBS_TABLE)
        self.tenant_limits = DynamoTenantLimitStore(ControlTable(client, CONTROL_TABLE))
        self.model_entries = model_entries or FakeModelEntryStore()
        self.queue = FakeBatchQueue()
        self.limits = ConcurrencyLimits(
            self.tenant_limits,
            ModelEntryDirectory(self.model_entries, cache_seconds=0),
            default_for_tenants=default_for_tenants,
            cache_seconds=0,
        )
        self.line = WaitingLine(self.slots, self.limits, self.queue)
        self.gate = SlotGate(
            updater=self.updater,
            store=self.slots,
            limits=self.limits,
            line=self.line,
            clock=self.clock,
            timeouts=JobTimeouts(),
        )
        self.releaser = SlotReleaser(self.slots, self.line)
        self.repair = SlotRepair(
            store=self.slots, jobs=self.jobs, limits=self.limits, line=self.line, clock=self.clock
        )
        self.service = ConcurrencyService(
            tenants=self.tenant_limits,
            store=self.slots,
            limits=self.limits,
            line=self.line,
            audit=audit or NoAuditLog(),
        )

    def create_job(self, **fields: Any) -> Job:
        """Store a queued job and return it as it is stored."""
        job = make_job(**fields)
        self.jobs.create(job)
        return self.read(job)

    def read(self, job: Job) -> Job:
        return self.updater.get(job.tenant, job.id)

    def apply(self, job: Job, change: Change) -> Job:
        """Apply a change to the job, and let the releaser see it as the stream shows it."""
        before = self.read(job)
        after = self.updater.apply(before, change)
        assert self.releaser.release([JobChange(before, after)]) is None
        return after
