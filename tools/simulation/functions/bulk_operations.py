"""What operators do about a job, and bulk operations: what starts them, and their worker."""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicate_proxy.aws.bulk_store import DynamoBulkStore
from replicate_proxy.aws.job_index import DynamoJobIndex
from replicate_proxy.aws.lease import Lease
from replicate_proxy.aws.usage_store import DynamoUsageReports
from replicate_proxy.operations.bulk.actions import build_actions
from replicate_proxy.operations.bulk.service import BulkService
from replicate_proxy.operations.bulk.worker import BulkWorker
from replicate_proxy.operations.job_actions import JobActions
from replicate_proxy.operations.job_search import JobSearch
from replicate_proxy.services.cancel import JobCanceler
from replicate_proxy.usage.report import UsageReader
from tools.simulation.functions.deliveries import build_redelivery
from tools.simulation.functions.job_creation import build_idempotency_store
from tools.simulation.functions.operators import build_operation_starter, build_retries
from tools.simulation.functions.sweep import build_deleter
from tools.simulation.resources import Table

if TYPE_CHECKING:
    from tools.simulation.functions.components import Components


def build_bulk_service(components: Components) -> BulkService:
    dynamodb = components.aws.client("dynamodb")
    index = DynamoJobIndex(dynamodb, Table.JOBS)
    usage = UsageReader(DynamoUsageReports(dynamodb, Table.USAGE))
    return BulkService(
        store=_build_store(components),
        search=JobSearch(index, usage, components.clock),
        idempotency=build_idempotency_store(components),
        starter=build_operation_starter(components),
        audit=components.audit,
        clock=components.clock,
    )


def build_job_actions(components: Components) -> JobActions:
    return JobActions(
        jobs=components.jobs,
        documents=components.documents,
        canceler=JobCanceler(components.updater, components.dispatch_queue),
        deliveries=components.deliveries,
        redeliverer=build_redelivery(components),
        harvest_queue=components.harvest_queue,
        deleter=build_deleter(components),
        audit=components.audit,
        clock=components.clock,
    )


def build_bulk_worker(components: Components) -> BulkWorker:
    return BulkWorker(
        store=_build_store(components),
        jobs=components.jobs,
        actions=build_actions(build_job_actions(components), build_retries(components)),
        lease=Lease(components.control_table(), "bulk-operations", components.clock),
        audit=components.audit,
        clock=components.clock,
        sleep=components.scheduler.sleep,
        checkpoint=components.checkpoint,
    )


def _build_store(components: Components) -> DynamoBulkStore:
    dynamodb = components.aws.client("dynamodb")
    return DynamoBulkStore(dynamodb, Table.JOBS, components.clock, components.timeouts.retention_days)
