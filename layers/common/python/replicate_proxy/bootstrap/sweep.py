"""The composition root of the sweep function: what is due or overdue, and workers that have work."""

from __future__ import annotations

import time
from functools import cache, partial
from typing import TYPE_CHECKING

from replicate_proxy.aws.clients import get_client
from replicate_proxy.aws.event_bus import EventBridgeBus
from replicate_proxy.aws.lease import Lease
from replicate_proxy.aws.object_remover import S3ObjectRemover
from replicate_proxy.aws.queues import SqsCommandQueue, SqsHarvestQueue
from replicate_proxy.aws.row_removers import DynamoDeliveryRemover, DynamoUsageMarkRemover
from replicate_proxy.background_worker import start_worker
from replicate_proxy.bootstrap.batch_starter import build_batch_starter
from replicate_proxy.bootstrap.bulk_worker import build_worker_starter, has_operations
from replicate_proxy.bootstrap.concurrency import build_concurrency_limits, build_line, build_slot_store
from replicate_proxy.bootstrap.control import build_delivery_pause_switch
from replicate_proxy.bootstrap.control_table import build_control_table
from replicate_proxy.bootstrap.deletion import build_deletion_store
from replicate_proxy.bootstrap.delivery import (
    build_delivery_queue,
    build_delivery_settings,
    build_delivery_store,
)
from replicate_proxy.bootstrap.documents import build_document_store
from replicate_proxy.bootstrap.environment import checkpoint, clock, env
from replicate_proxy.bootstrap.job_stores import build_job_store, build_large_batch_store
from replicate_proxy.bootstrap.jobs import build_job_timeouts, build_job_updater
from replicate_proxy.bootstrap.redelivery import build_redelivery_service
from replicate_proxy.bootstrap.replicate import build_prediction_readers
from replicate_proxy.bootstrap.secrets import load_output_key_secret, load_root_secret
from replicate_proxy.concurrency.remains import leave_limits
from replicate_proxy.concurrency.repair import SlotRepair
from replicate_proxy.deletion.sweep import DeletionSweep
from replicate_proxy.outputs.storage import list_job_prefixes
from replicate_proxy.replicate_api.callback_url import CallbackUrls
from replicate_proxy.services.harvest import build_continuation_event
from replicate_proxy.services.reconcile import Reconciler
from replicate_proxy.services.reports import ReportPublisher
from replicate_proxy.services.resolve_submission import SubmissionResolver
from replicate_proxy.services.sweep import Sweeper
from replicate_proxy.settings import (
    BATCH_DISPATCH_QUEUE_URL,
    DELIVERIES_TABLE,
    DISPATCH_QUEUE_URL,
    EVENT_BUS,
    HARVEST_QUEUE_URL,
    IMAGES_BUCKET,
    SWEEP_DURATION_SECONDS,
    USAGE_TABLE,
    WEBHOOK_BASE_URL,
)
from replicate_proxy.webhooks.delivery_sweep import DeliverySweep

if TYPE_CHECKING:
    from replicate_proxy.deletion.model import Deletion
    from replicate_proxy.jobs.model import Job


@cache
def build_sweeper() -> Sweeper:
    return Sweeper(
        store=build_job_store(),
        handlers=_build_reconciler().build_handlers(),
        clock=clock,
        sleep=time.sleep,
        duration_seconds=env[SWEEP_DURATION_SECONDS],
    )


@cache
def build_delivery_sweep() -> DeliverySweep:
    return DeliverySweep(
        deliveries=build_delivery_store(),
        queue=build_delivery_queue(),
        redelivery=build_redelivery_service(),
        clock=clock,
        settings=build_delivery_settings(),
        find_pause=build_delivery_pause_switch().find,
        checkpoint=checkpoint,
    )


@cache
def build_deletion_sweep() -> DeletionSweep:
    dynamodb = get_client("dynamodb")
    return DeletionSweep(
        store=build_deletion_store(),
        objects=S3ObjectRemover(get_client("s3"), env[IMAGES_BUCKET]),
        list_prefixes=_list_prefixes,
        rows=[DynamoDeliveryRemover(dynamodb, env[DELIVERIES_TABLE])],
        late_rows=[DynamoUsageMarkRemover(dynamodb, env[USAGE_TABLE])],
        leave_limits=partial(leave_limits, build_slot_store()),
        clock=clock,
        checkpoint=checkpoint,
    )


def _list_prefixes(deletion: Deletion) -> list[str]:
    prefixes = [f"records/{deletion.tenant}/{deletion.id}/", f"events/{deletion.tenant}/{deletion.id}/"]
    if deletion.deletes_files:
        prefixes += list_job_prefixes(load_output_key_secret(), deletion.tenant, deletion.id)
    return prefixes


@cache
def build_slot_repair() -> SlotRepair:
    return SlotRepair(
        store=build_slot_store(),
        jobs=build_job_store(),
        limits=build_concurrency_limits(),
        line=build_line(),
        clock=clock,
    )


@cache
def build_sweep_lease() -> Lease:
    return Lease(build_control_table(), "sweep", clock)


def start_workers() -> None:
    """Have bulk operations, erasures and large batches go on, in the functions of their workers."""
    start_worker(build_worker_starter(), has_work=has_operations)
    batches = build_large_batch_store()
    start_worker(build_batch_starter(), has_work=lambda: batches.has_due(clock.now()))


def _build_reconciler() -> Reconciler:
    queue = SqsCommandQueue(get_client("sqs"), env[DISPATCH_QUEUE_URL], env[BATCH_DISPATCH_QUEUE_URL])
    harvest_queue = SqsHarvestQueue(get_client("sqs"), env[HARVEST_QUEUE_URL])

    def resume_harvest(job: Job) -> None:
        harvest_queue.send(build_continuation_event(job, clock.now()), tenant=job.tenant)

    return Reconciler(
        updater=build_job_updater(),
        documents=build_document_store(),
        queue=queue,
        reports=ReportPublisher(EventBridgeBus(get_client("events"), env[EVENT_BUS]), build_document_store()),
        get_reader=build_prediction_readers().of,
        resolver=_build_resolver(queue),
        resume_harvest=resume_harvest,
        clock=clock,
        timeouts=build_job_timeouts(),
        checkpoint=checkpoint,
    )


def _build_resolver(queue: SqsCommandQueue) -> SubmissionResolver:
    return SubmissionResolver(
        updater=build_job_updater(),
        store=build_job_store(),
        documents=build_document_store(),
        queue=queue,
        get_lister=build_prediction_readers().of,
        urls=CallbackUrls(env[WEBHOOK_BASE_URL], load_root_secret()),
        clock=clock,
        timeouts=build_job_timeouts(),
        checkpoint=checkpoint,
    )
