"""The functions of large batches: ingest's part, what starts the worker, and the worker."""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicate_proxy.api.predictions.job_request_parser import JobRequestParser, ParserSettings
from replicate_proxy.aws.batch_objects import S3BatchObjects
from replicate_proxy.aws.invocations import AsyncInvocation
from replicate_proxy.aws.large_batch_store import DynamoLargeBatchStore
from replicate_proxy.aws.lease import Lease
from replicate_proxy.aws.object_remover import S3ObjectRemover
from replicate_proxy.aws.row_removers import DynamoDeliveryRemover
from replicate_proxy.aws.usage_store import DynamoBatchCounts
from replicate_proxy.background_worker import start_worker
from replicate_proxy.batches.expander import BatchExpander
from replicate_proxy.batches.results import ResultReader, ResultWriter
from replicate_proxy.batches.worker import BatchWorker
from replicate_proxy.model_entries.directory import NoEntries
from replicate_proxy.services.cancel import JobCanceler
from replicate_proxy.services.large_batches import LargeBatchService
from replicate_proxy.webhooks.batch_notifier import BatchNotifier
from tools.simulation.concurrency_invariants import StaticEntries
from tools.simulation.functions.job_creation import (
    build_budget_gate,
    build_idempotency_store,
    build_input_check,
    build_job_factory,
)
from tools.simulation.functions.replicate_access import build_account_finder
from tools.simulation.resources import BATCH_FUNCTION, BUCKET, Table

if TYPE_CHECKING:
    from collections.abc import Callable

    from tools.simulation.functions.components import Components


def build_batch_service(components: Components) -> LargeBatchService:
    return LargeBatchService(
        store=_build_store(components),
        idempotency=build_idempotency_store(components),
        find_file=components.files.find,
        factory=build_job_factory(components),
        starter=_build_starter(components),
        clock=components.clock,
        checkpoint=components.checkpoint,
    )


def build_batch_starter(components: Components) -> Callable[[], None]:
    """Return what the sweep does: start the worker if a batch is due."""
    store, starter = _build_store(components), _build_starter(components)
    return lambda: start_worker(starter, has_work=lambda: store.has_due(components.clock.now()))


def build_batch_counts(components: Components) -> DynamoBatchCounts:
    return DynamoBatchCounts(components.aws.client("dynamodb"), Table.USAGE)


def build_batch_worker(components: Components) -> BatchWorker:
    store, counts = _build_store(components), build_batch_counts(components)
    objects = S3BatchObjects(components.aws.client("s3"), BUCKET)
    deliveries = DynamoDeliveryRemover(components.aws.client("dynamodb"), Table.DELIVERIES)
    reader = ResultReader(objects, components.jobs, components.documents)
    canceler = JobCanceler(components.updater, components.dispatch_queue, checkpoint=components.checkpoint)

    def remove_rows(tenant: str, batch_id: str) -> None:
        deliveries.remove_job(tenant, batch_id)
        counts.remove_counts(tenant, batch_id)

    return BatchWorker(
        store=store,
        objects=objects,
        jobs=components.jobs,
        counts=counts,
        expander=_build_expander(components, store, objects),
        writer=ResultWriter(reader, objects, components.clock, part_bytes=components.plan.part_bytes),
        notify=_build_notifier(components, counts).notify,
        cancel=canceler.request_cancel,
        remove_objects=S3ObjectRemover(components.aws.client("s3"), BUCKET).remove_all,
        remove_rows=remove_rows,
        lease=Lease(components.control_table(), "batches", components.clock),
        clock=components.clock,
        checkpoint=components.checkpoint,
    )


def _build_expander(
    components: Components, store: DynamoLargeBatchStore, objects: S3BatchObjects
) -> BatchExpander:
    parser = JobRequestParser(
        ParserSettings(),
        lambda *_: None,
        entries=StaticEntries() if components.features.has_limits else NoEntries(),
        check_pause=components.build_pause_check(),
        find_account=build_account_finder(components),
    )
    return BatchExpander(
        store=store,
        objects=objects,
        parser=parser,
        factory=build_job_factory(components),
        queue=components.dispatch_queue,
        timeouts=components.timeouts,
        clock=components.clock,
        budgets=build_budget_gate(components),
        check_input=build_input_check(components),
        checkpoint=components.checkpoint,
    )


def _build_notifier(components: Components, counts: DynamoBatchCounts) -> BatchNotifier:
    return BatchNotifier(
        deliveries=components.deliveries,
        endpoints=components.endpoints,
        documents=components.documents,
        counts=counts,
        queue=components.notify_queue,
        clock=components.clock,
        settings=components.delivery_settings,
    )


def _build_store(components: Components) -> DynamoLargeBatchStore:
    return DynamoLargeBatchStore(components.aws.client("dynamodb"), Table.JOBS)


def _build_starter(components: Components) -> AsyncInvocation:
    return AsyncInvocation(components.aws.client("lambda"), BATCH_FUNCTION, {"task": "work"})
