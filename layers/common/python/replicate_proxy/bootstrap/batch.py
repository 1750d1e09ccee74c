"""The composition root of the batch function: the worker of large batches."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from replicate_proxy.aws.batch_objects import S3BatchObjects
from replicate_proxy.aws.clients import get_client
from replicate_proxy.aws.lease import Lease
from replicate_proxy.aws.object_remover import S3ObjectRemover
from replicate_proxy.aws.queues import SqsCommandQueue
from replicate_proxy.aws.row_removers import DynamoDeliveryRemover
from replicate_proxy.batches.expander import BatchExpander
from replicate_proxy.batches.results import ResultReader, ResultWriter
from replicate_proxy.batches.worker import BatchWorker
from replicate_proxy.bootstrap.batch_results import build_batch_counts
from replicate_proxy.bootstrap.control_table import build_control_table
from replicate_proxy.bootstrap.delivery import (
    build_delivery_queue,
    build_delivery_settings,
    build_delivery_store,
    build_endpoint_store,
)
from replicate_proxy.bootstrap.documents import build_document_store
from replicate_proxy.bootstrap.environment import checkpoint, clock, env
from replicate_proxy.bootstrap.ingest import (
    build_budget_gate,
    build_factory,
    build_input_check,
    build_parser,
)
from replicate_proxy.bootstrap.job_stores import build_job_store, build_large_batch_store
from replicate_proxy.bootstrap.jobs import build_job_timeouts, build_job_updater
from replicate_proxy.services.cancel import JobCanceler
from replicate_proxy.settings import (
    BATCH_DISPATCH_QUEUE_URL,
    DELIVERIES_TABLE,
    DISPATCH_QUEUE_URL,
    IMAGES_BUCKET,
)
from replicate_proxy.webhooks.batch_notifier import BatchNotifier

if TYPE_CHECKING:
    from replicate_proxy.aws.usage_store import DynamoBatchCounts


@cache
def build_batch_worker() -> BatchWorker:
    objects = S3BatchObjects(get_client("s3"), env[IMAGES_BUCKET])
    counts = build_batch_counts()
    queue = SqsCommandQueue(get_client("sqs"), env[DISPATCH_QUEUE_URL], env[BATCH_DISPATCH_QUEUE_URL])
    deliveries = DynamoDeliveryRemover(get_client("dynamodb"), env[DELIVERIES_TABLE])

    def remove_rows(tenant: str, batch_id: str) -> None:
        deliveries.remove_job(tenant, batch_id)
        counts.remove_counts(tenant, batch_id)

    return BatchWorker(
        store=build_large_batch_store(),
        objects=objects,
        jobs=build_job_store(),
        counts=counts,
        expander=BatchExpander(
            store=build_large_batch_store(),
            objects=objects,
            parser=build_parser(),
            factory=build_factory(),
            queue=queue,
            timeouts=build_job_timeouts(),
            clock=clock,
            budgets=build_budget_gate(),
            check_input=build_input_check(),
            checkpoint=checkpoint,
        ),
        writer=ResultWriter(ResultReader(objects, build_job_store(), build_document_store()), objects, clock),
        notify=_build_notifier(counts).notify,
        cancel=JobCanceler(build_job_updater(), queue, checkpoint=checkpoint).request_cancel,
        remove_objects=S3ObjectRemover(get_client("s3"), env[IMAGES_BUCKET]).remove_all,
        remove_rows=remove_rows,
        lease=Lease(build_control_table(), "batches", clock),
        clock=clock,
        checkpoint=checkpoint,
    )


def _build_notifier(counts: DynamoBatchCounts) -> BatchNotifier:
    return BatchNotifier(
        deliveries=build_delivery_store(),
        endpoints=build_endpoint_store(),
        documents=build_document_store(),
        counts=counts,
        queue=build_delivery_queue(),
        clock=clock,
        settings=build_delivery_settings(),
    )
