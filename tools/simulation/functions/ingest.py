"""The ingest function: creates and cancels jobs and batches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from replicate_proxy.auth.tenants import Tenant
from replicate_proxy.services.batches import BatchService
from replicate_proxy.services.cancel import JobCanceler
from replicate_proxy.services.ingest import JobCreator, JobFactory
from replicate_proxy.services.stream_urls import StreamUrlWaiter
from replicate_proxy.services.wait import JobWaiter
from tools.simulation.functions.batches import build_batch_counts, build_batch_service
from tools.simulation.functions.job_creation import (
    build_batch_store,
    build_budget_gate,
    build_idempotency_store,
    build_input_check,
    build_streams,
    build_tenant_finder,
)
from tools.simulation.pauses import refuse_nothing

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from replicate_proxy.auth.principal import Principal
    from replicate_proxy.jobs.model import Batch
    from replicate_proxy.services.batch_reader import BatchState
    from replicate_proxy.services.ingest import CreateResult, JobRequest
    from replicate_proxy.services.large_batches import LargeBatchRequest, LargeBatchService
    from tools.simulation.functions.components import Components

_STREAM_WAIT_SECONDS = 5.0


@dataclass(frozen=True)
class Ingest:
    """Creates and cancels jobs and batches, and reads them."""

    creator: JobCreator
    canceler: JobCanceler
    batches: BatchService
    large_batches: LargeBatchService
    stream_waiter: StreamUrlWaiter | None = None
    find_tenant: Callable[[str], Tenant] = Tenant
    check_pause: Callable[[str], None] = refuse_nothing

    def create(self, request: JobRequest, principal: Principal) -> CreateResult:
        """Create a job as the route does: with streams, it waits for that of the prediction."""
        self._check_tenant(principal.tenant)
        result = self.creator.create(request, principal)
        if self.stream_waiter is not None:
            self.stream_waiter.wait(result.job)
        return result

    def create_batch(self, requests: Sequence[JobRequest], principal: Principal, key: str) -> BatchState:
        self._check_tenant(principal.tenant)
        return self.batches.create(requests, principal, key)

    def create_large_batch(self, request: LargeBatchRequest, principal: Principal) -> Batch:
        self._check_tenant(principal.tenant)
        return self.large_batches.create(request, principal)[0]

    def _check_tenant(self, name: str) -> None:
        """Raise an ApiError if the tenant may create nothing now, as the parser of requests does."""
        self.find_tenant(name).check_not_erasing()
        self.check_pause(name)


def build_ingest(components: Components) -> Ingest:
    waiter = JobWaiter(components.jobs, components.clock, components.scheduler.sleep, max_wait_seconds=20)
    canceler = JobCanceler(
        components.updater, components.dispatch_queue, waiter, checkpoint=components.checkpoint
    )
    streams = build_streams(components)
    factory = JobFactory(components.documents, components.timeouts, streams.find_url)
    budgets = build_budget_gate(components)
    idempotency = build_idempotency_store(components)
    check_input = build_input_check(components)
    creator = JobCreator(
        store=components.jobs,
        idempotency=idempotency,
        factory=factory,
        queue=components.dispatch_queue,
        clock=components.clock,
        budgets=budgets,
        check_input=check_input,
        checkpoint=components.checkpoint,
    )
    batches = BatchService(
        store=build_batch_store(components),
        idempotency=idempotency,
        factory=factory,
        queue=components.dispatch_queue,
        canceler=canceler,
        clock=components.clock,
        budgets=budgets,
        check_input=check_input,
        checkpoint=components.checkpoint,
        counts=build_batch_counts(components),
    )
    stream_waiter = StreamUrlWaiter(streams, waiter, _STREAM_WAIT_SECONDS)
    return Ingest(
        creator,
        canceler,
        batches,
        build_batch_service(components),
        stream_waiter if components.plan.streams_enabled else None,
        build_tenant_finder(components),
        components.build_pause_check(),
    )
