"""The sweep function, and the deletion of jobs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from replicate_proxy.aws.deletion_store import DynamoDeletionStore
from replicate_proxy.aws.lease import Lease
from replicate_proxy.aws.object_remover import S3ObjectRemover
from replicate_proxy.aws.row_removers import DynamoDeliveryRemover, DynamoUsageMarkRemover
from replicate_proxy.concurrency.remains import leave_limits
from replicate_proxy.deletion.deleter import JobDeleter
from replicate_proxy.deletion.sweep import DeletionSweep
from replicate_proxy.pauses.pause import PausedActivity
from replicate_proxy.services.harvest import build_continuation_event
from replicate_proxy.services.reconcile import Reconciler
from replicate_proxy.services.reports import ReportPublisher
from replicate_proxy.services.resolve_submission import SubmissionResolver
from replicate_proxy.services.sweep import Sweeper
from replicate_proxy.services.sweep_run import SweepRun
from replicate_proxy.webhooks.delivery_sweep import DeliverySweep
from tools.simulation.functions.batches import build_batch_starter
from tools.simulation.functions.concurrency import build_repair
from tools.simulation.functions.deliveries import build_redelivery
from tools.simulation.functions.job_creation import build_batch_store
from tools.simulation.functions.operators import build_operation_restarter
from tools.simulation.functions.replicate_access import build_readers
from tools.simulation.resources import BUCKET, Table

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from replicate_proxy.deletion.model import Deletion
    from replicate_proxy.jobs.model import Job
    from replicate_proxy.ports import DueJob
    from tools.simulation.functions.components import Components


@dataclass(frozen=True)
class Sweep:
    """The sweep function: what it runs, and the lease that excludes a second one."""

    lease: Lease
    start_workers: Sequence[Callable[[], None]]
    run: SweepRun


class _NoDeletions(DynamoDeletionStore):
    """Finds nothing to delete, without a call: for runs without deletions."""

    def list_due(self, *, before: datetime, limit: int) -> Sequence[DueJob]:  # noqa: ARG002 - the port's names
        return ()


def build_sweep(components: Components) -> Sweep:
    deliveries = DeliverySweep(
        deliveries=components.deliveries,
        queue=components.notify_queue,
        redelivery=build_redelivery(components),
        clock=components.clock,
        settings=components.delivery_settings,
        find_pause=components.build_pause_finder(PausedActivity.DELIVERIES),
        checkpoint=components.checkpoint,
    )
    jobs = Sweeper(
        store=components.jobs,
        handlers=_build_reconciler(components).build_handlers(),
        clock=components.clock,
        sleep=components.scheduler.sleep,
    )
    lease = Lease(components.control_table(), "sweep", components.clock)
    start_workers = []
    if components.features.has_operations:
        start_workers.append(build_operation_restarter(components))
    if components.features.has_batches:
        start_workers.append(build_batch_starter(components))
    slots = build_repair(components)
    deletions = _build_deletion_sweep(components)
    run = SweepRun(
        build_deliveries=lambda: deliveries,
        build_slots=lambda: slots,
        build_jobs=lambda: jobs,
        build_deletions=lambda: deletions,
        clock=components.clock,
    )
    return Sweep(lease, start_workers, run)


def _build_reconciler(components: Components) -> Reconciler:
    readers = build_readers(components)

    def resume_harvest(job: Job) -> None:
        event = build_continuation_event(job, components.clock.now())
        components.harvest_queue.send(event, tenant=job.tenant)

    resolver = SubmissionResolver(
        updater=components.updater,
        store=components.jobs,
        documents=components.documents,
        queue=components.dispatch_queue,
        get_lister=readers.of,
        urls=components.urls,
        clock=components.clock,
        timeouts=components.timeouts,
        checkpoint=components.checkpoint,
    )
    return Reconciler(
        updater=components.updater,
        documents=components.documents,
        queue=components.dispatch_queue,
        reports=ReportPublisher(components.bus, components.documents),
        get_reader=readers.of,
        resolver=resolver,
        resume_harvest=resume_harvest,
        clock=components.clock,
        timeouts=components.timeouts,
        checkpoint=components.checkpoint,
    )


def build_deleter(components: Components) -> JobDeleter:
    return JobDeleter(_build_deletion_store(components), components.clock, checkpoint=components.checkpoint)


def _build_deletion_store(components: Components) -> DynamoDeletionStore:
    dynamodb = components.aws.client("dynamodb")
    store = DynamoDeletionStore if components.features.has_deletions else _NoDeletions
    return store(dynamodb, Table.JOBS, build_batch_store(components))


def _build_deletion_sweep(components: Components) -> DeletionSweep:
    dynamodb = components.aws.client("dynamodb")
    return DeletionSweep(
        store=_build_deletion_store(components),
        objects=S3ObjectRemover(components.aws.client("s3"), BUCKET),
        list_prefixes=_list_prefixes,
        rows=[DynamoDeliveryRemover(dynamodb, Table.DELIVERIES)],
        late_rows=[DynamoUsageMarkRemover(dynamodb, Table.USAGE)],
        leave_limits=partial(leave_limits, components.slots),
        clock=components.clock,
        checkpoint=components.checkpoint,
    )


def _list_prefixes(deletion: Deletion) -> list[str]:
    kinds = ("records", "events", *(("outputs",) if deletion.deletes_files else ()))
    return [f"{kind}/{deletion.tenant}/{deletion.id}/" for kind in kinds]
