"""Erasures of tenants: what starts them, and their worker."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from replicate_proxy.aws import tenant_rows
from replicate_proxy.aws.api_gateway import ApiGateway
from replicate_proxy.aws.erasure_store import DynamoErasureStore
from replicate_proxy.aws.file_objects import S3FileObjects
from replicate_proxy.aws.file_store import DynamoFileStore
from replicate_proxy.aws.lease import Lease
from replicate_proxy.aws.pause_store import DynamoPauseStore
from replicate_proxy.aws.tenant_objects import S3TenantObjects
from replicate_proxy.aws.tenant_rows import DynamoTenantRows
from replicate_proxy.aws.tenant_store import DynamoTenantStore
from replicate_proxy.operations.erasure.access import StoredTenantAccess
from replicate_proxy.operations.erasure.predictions import StoredTenantPredictions
from replicate_proxy.operations.erasure.service import ErasureService
from replicate_proxy.operations.erasure.settings import StoredTenantSettings
from replicate_proxy.operations.erasure.worker import ErasureWorker
from replicate_proxy.operations.usage_plans import UsagePlanKeys
from replicate_proxy.pauses.pause import PausedActivity
from replicate_proxy.services.cancel import JobCanceler
from tools.simulation.functions.batches import build_batch_service
from tools.simulation.functions.job_creation import build_batch_store
from tools.simulation.functions.operators import build_accounts, build_operation_starter
from tools.simulation.functions.sweep import build_deleter
from tools.simulation.resources import BUCKET, Table

if TYPE_CHECKING:
    from replicate_proxy.operations.erasure.ports import TenantPlace
    from tools.simulation.functions.components import Components

# As in bootstrap/erasure.py, but for the folders of output files, which have a secret name there.
_PREFIXES = ("outputs", "originals", "thumbs", "private", "records", "events", "files", "batches")
_CLASSIFIERS = {
    Table.DELIVERIES: tenant_rows.classify_delivery_row,
    Table.JOBS: tenant_rows.classify_job_row,
    Table.USAGE: tenant_rows.classify_usage_row,
    Table.ACCESS: tenant_rows.classify_access_row,
    Table.CONTROL: tenant_rows.classify_control_row,
}


def build_erasure_service(components: Components) -> ErasureService:
    return ErasureService(
        store=DynamoErasureStore(components.aws.client("dynamodb"), Table.JOBS),
        tenants=_build_tenant_store(components),
        keys=components.keys,
        jobs=components.jobs,
        access=_build_access(components),
        starter=build_operation_starter(components),
        audit=components.audit,
        clock=components.clock,
    )


def build_erasure_worker(components: Components) -> ErasureWorker:
    return ErasureWorker(
        store=DynamoErasureStore(components.aws.client("dynamodb"), Table.JOBS),
        access=_build_access(components),
        predictions=_build_predictions(components),
        settings=_build_settings(components),
        places=[*_build_objects(components), *_build_rows(components)],
        lease=Lease(components.control_table(), "erasures", components.clock),
        audit=components.audit,
        clock=components.clock,
        checkpoint=components.checkpoint,
    )


def _build_tenant_store(components: Components) -> DynamoTenantStore:
    return DynamoTenantStore(components.aws.client("dynamodb"), Table.ACCESS, consistent=True)


def _build_access(components: Components) -> StoredTenantAccess:
    gateway = ApiGateway(components.aws.client("apigateway"), prefix="simulation")
    return StoredTenantAccess(
        tenants=_build_tenant_store(components),
        keys=components.keys,
        usage_plan_keys=UsagePlanKeys(gateway, default_limits=None),
        gateway=gateway,
        clock=components.clock,
    )


def _build_predictions(components: Components) -> StoredTenantPredictions:
    return StoredTenantPredictions(
        jobs=components.jobs,
        batches=build_batch_store(components),
        cancel=JobCanceler(components.updater, components.dispatch_queue).request_cancel,
        cancel_batch=build_batch_service(components).cancel,
        deleter=build_deleter(components),
    )


def _build_settings(components: Components) -> StoredTenantSettings:
    table = components.control_table()
    return StoredTenantSettings(
        pauses=[DynamoPauseStore(table, activity) for activity in PausedActivity],
        limits=components.tenant_limits,
        slots=components.slots,
        accounts=build_accounts(components),
        files=DynamoFileStore(components.aws.client("dynamodb"), Table.ACCESS),
        uploads=S3FileObjects(components.aws.client("s3"), BUCKET),
    )


def _build_objects(components: Components) -> list[TenantPlace]:
    client = components.aws.client("s3")
    return [S3TenantObjects(client, BUCKET, kind, partial(_build_prefix, kind)) for kind in _PREFIXES]


def _build_prefix(kind: str, tenant: str) -> str:
    return f"{kind}/{tenant}/"


def _build_rows(components: Components) -> list[TenantPlace]:
    client = components.aws.client("dynamodb")
    return [DynamoTenantRows(client, table, classify) for table, classify in _CLASSIFIERS.items()]
