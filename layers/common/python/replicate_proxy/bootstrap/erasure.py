"""The composition root of the worker of erasures, which is a task of the admin function."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from replicate_proxy.aws import tenant_rows
from replicate_proxy.aws.clients import get_client
from replicate_proxy.aws.erasure_store import DynamoErasureStore
from replicate_proxy.aws.file_objects import S3FileObjects
from replicate_proxy.aws.file_store import DynamoFileStore
from replicate_proxy.aws.lease import Lease
from replicate_proxy.aws.pause_store import DynamoPauseStore
from replicate_proxy.aws.queues import SqsCommandQueue
from replicate_proxy.aws.tenant_limit_store import DynamoTenantLimitStore
from replicate_proxy.aws.tenant_objects import S3TenantObjects
from replicate_proxy.aws.tenant_rows import DynamoTenantRows
from replicate_proxy.bootstrap.admin import build_account_service, build_tenant_access
from replicate_proxy.bootstrap.audit import build_audit_log
from replicate_proxy.bootstrap.batch_writes import build_large_batch_service
from replicate_proxy.bootstrap.concurrency import build_slot_store
from replicate_proxy.bootstrap.control_table import build_control_table
from replicate_proxy.bootstrap.deletion import build_deleter
from replicate_proxy.bootstrap.environment import checkpoint, clock, env
from replicate_proxy.bootstrap.job_stores import build_batch_store, build_job_store
from replicate_proxy.bootstrap.jobs import build_job_updater
from replicate_proxy.bootstrap.secrets import load_output_key_secret
from replicate_proxy.operations.erasure.predictions import StoredTenantPredictions
from replicate_proxy.operations.erasure.settings import StoredTenantSettings
from replicate_proxy.operations.erasure.worker import ErasureWorker
from replicate_proxy.outputs.storage import build_tenant_folder
from replicate_proxy.pauses.pause import PausedActivity
from replicate_proxy.services.cancel import JobCanceler
from replicate_proxy.settings import (
    ACCESS_TABLE,
    CONTROL_TABLE,
    DELIVERIES_TABLE,
    DISPATCH_QUEUE_URL,
    IMAGES_BUCKET,
    REPLICATE_PROXY_TABLE,
    USAGE_TABLE,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from replicate_proxy.operations.erasure.ports import TenantPlace


@cache
def build_erasure_worker() -> ErasureWorker:
    return ErasureWorker(
        store=DynamoErasureStore(get_client("dynamodb"), env[REPLICATE_PROXY_TABLE]),
        access=build_tenant_access(),
        predictions=_build_predictions(),
        settings=_build_settings(),
        places=[*_build_objects(), *_build_rows()],
        lease=Lease(build_control_table(), "erasures", clock),
        audit=build_audit_log(),
        clock=clock,
        checkpoint=checkpoint,
    )


def build_prefixes(load_key_secret: Callable[[], bytes]) -> Mapping[str, Callable[[str], str]]:
    """Return the prefixes of a tenant's objects by their kind. All prefixes of the bucket are here."""

    def build_folder(tenant: str) -> str:
        return build_tenant_folder(load_key_secret(), tenant)

    return {
        "output_files": lambda tenant: f"outputs/{build_folder(tenant)}",
        "originals": lambda tenant: f"originals/{build_folder(tenant)}",
        "thumbnails": lambda tenant: f"thumbs/{build_folder(tenant)}",
        "private_files": lambda tenant: f"private/{build_folder(tenant)}",
        "documents": lambda tenant: f"records/{tenant}/",
        "large_events": lambda tenant: f"events/{tenant}/",
        "uploaded_files": lambda tenant: f"files/{tenant}/",
        "batch_files": lambda tenant: f"batches/{tenant}/",
    }


def _build_predictions() -> StoredTenantPredictions:
    queue = SqsCommandQueue(get_client("sqs"), env[DISPATCH_QUEUE_URL])
    return StoredTenantPredictions(
        jobs=build_job_store(),
        batches=build_batch_store(),
        cancel=JobCanceler(build_job_updater(), queue).request_cancel,
        cancel_batch=build_large_batch_service().cancel,
        deleter=build_deleter(),
    )


def _build_settings() -> StoredTenantSettings:
    table = build_control_table()
    return StoredTenantSettings(
        pauses=[DynamoPauseStore(table, activity) for activity in PausedActivity],
        limits=DynamoTenantLimitStore(table),
        slots=build_slot_store(),
        accounts=build_account_service(),
        files=DynamoFileStore(get_client("dynamodb"), env[ACCESS_TABLE]),
        uploads=S3FileObjects(get_client("s3"), env[IMAGES_BUCKET]),
    )


def _build_objects() -> list[TenantPlace]:
    client, bucket = get_client("s3"), env[IMAGES_BUCKET]
    prefixes = build_prefixes(load_output_key_secret)
    return [S3TenantObjects(client, bucket, kind, prefix) for kind, prefix in prefixes.items()]


def _build_rows() -> list[TenantPlace]:
    client = get_client("dynamodb")
    return [
        DynamoTenantRows(client, env[DELIVERIES_TABLE], tenant_rows.classify_delivery_row),
        DynamoTenantRows(client, env[REPLICATE_PROXY_TABLE], tenant_rows.classify_job_row),
        DynamoTenantRows(client, env[USAGE_TABLE], tenant_rows.classify_usage_row),
        DynamoTenantRows(client, env[ACCESS_TABLE], tenant_rows.classify_access_row),
        DynamoTenantRows(client, env[CONTROL_TABLE], tenant_rows.classify_control_row),
    ]
