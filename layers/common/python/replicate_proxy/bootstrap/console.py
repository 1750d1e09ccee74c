"""The composition root of the console function."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from replicate_proxy.auth.authorizer import Authorizer
from replicate_proxy.aws.clients import get_client
from replicate_proxy.aws.console_store import ControlTableLinks, ControlTableSignInLimiter
from replicate_proxy.aws.key_store import DynamoKeyStore
from replicate_proxy.aws.tenant_store import DynamoTenantStore
from replicate_proxy.bootstrap.admin import build_admin_services
from replicate_proxy.bootstrap.audit import build_audit_log
from replicate_proxy.bootstrap.batch_results import build_batch_counts, build_batch_results
from replicate_proxy.bootstrap.batch_writes import build_large_batch_service
from replicate_proxy.bootstrap.cancel import build_canceler
from replicate_proxy.bootstrap.control_table import build_control_table
from replicate_proxy.bootstrap.delivery import build_delivery_store
from replicate_proxy.bootstrap.documents import build_document_store
from replicate_proxy.bootstrap.endpoints import build_endpoint_service
from replicate_proxy.bootstrap.environment import clock, env
from replicate_proxy.bootstrap.ingest import build_creator, build_parser
from replicate_proxy.bootstrap.job_stores import build_batch_store, build_job_store, build_line_store
from replicate_proxy.bootstrap.queue_status import build_queue_status_reader
from replicate_proxy.bootstrap.redelivery import build_redelivery_service
from replicate_proxy.bootstrap.secrets import load_api_key_digest_key, load_console_signing_key
from replicate_proxy.bootstrap.tenants import find_tenant
from replicate_proxy.console.access import ConsoleAccess
from replicate_proxy.console.routes import build_console_router
from replicate_proxy.console.services import ConsoleServices
from replicate_proxy.services.batch_reader import BatchReader
from replicate_proxy.settings import ACCESS_TABLE, CONSOLE_IMAGES_URL, PUBLIC_BASE_URL

if TYPE_CHECKING:
    from pathlib import Path

    from replicate_proxy.api.routing import Router


# A page is read again every few seconds.
_STATUS_JOBS = 100


@cache
def build_router(folder: Path) -> Router:
    """Build the pages once per execution environment; `folder` is that of the function."""
    services = ConsoleServices(
        admin=build_admin_services(),
        audit=build_audit_log(),
        jobs=build_job_store(),
        documents=build_document_store(),
        renderer=build_admin_services().renderer,
        parser=build_parser(find_tenant),
        creator=build_creator(),
        canceler=build_canceler(),
        batches=BatchReader(build_batch_store(), build_batch_counts()),
        large_batches=build_large_batch_service(),
        results=build_batch_results(),
        lines=build_line_store(),
        queue_status=build_queue_status_reader(max_jobs=_STATUS_JOBS, cache_seconds=0),
        endpoints=build_endpoint_service(),
        redelivery=build_redelivery_service(),
        deliveries=build_delivery_store(),
        clock=clock,
        images_url=env[CONSOLE_IMAGES_URL],
    )
    return build_console_router(folder, services, _build_access(), public_base_url=env[PUBLIC_BASE_URL])


def _build_access() -> ConsoleAccess:
    keys = DynamoKeyStore(get_client("dynamodb"), env[ACCESS_TABLE])
    return ConsoleAccess(
        authorizer=Authorizer(
            keys=keys,
            token_verifier=None,
            load_digest_key=load_api_key_digest_key,
            clock=clock,
            tenants=DynamoTenantStore(get_client("dynamodb"), env[ACCESS_TABLE]),
        ),
        keys=keys,
        links=ControlTableLinks(build_control_table()),
        limiter=ControlTableSignInLimiter(build_control_table(), clock),
        load_signing_key=load_console_signing_key,
        load_digest_key=load_api_key_digest_key,
        clock=clock,
        audit=build_audit_log(),
    )
