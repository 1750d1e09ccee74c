"""The routes that create and cancel batches, and the service of large ones."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from replicate_proxy.api.batches import add_batch_write_routes
from replicate_proxy.aws.clients import get_client
from replicate_proxy.aws.file_objects import S3FileObjects
from replicate_proxy.aws.file_store import DynamoFileStore
from replicate_proxy.bootstrap.batch_results import build_batch_counts
from replicate_proxy.bootstrap.batch_starter import build_batch_starter
from replicate_proxy.bootstrap.cancel import build_canceler
from replicate_proxy.bootstrap.control_table import build_control_table
from replicate_proxy.bootstrap.environment import checkpoint, clock, env
from replicate_proxy.bootstrap.ingest import (
    build_budget_gate,
    build_dispatch_queue,
    build_factory,
    build_idempotency_store,
    build_input_check,
    build_parser,
)
from replicate_proxy.bootstrap.job_stores import build_batch_store, build_large_batch_store
from replicate_proxy.bootstrap.rendering import build_renderer
from replicate_proxy.bootstrap.tenants import find_tenant
from replicate_proxy.files.finder import FileFinder
from replicate_proxy.replicate_api.rate_limit import RateLimit, TenantRateLimiter
from replicate_proxy.services.batches import BatchService
from replicate_proxy.services.large_batches import LargeBatchService
from replicate_proxy.settings import ACCESS_TABLE, BATCHED_PREDICTIONS_PER_MINUTE, IMAGES_BUCKET

if TYPE_CHECKING:
    from replicate_proxy.api.routing import Router


# Twenty batches of the largest size at once.
_BATCH_BURST = 1000


def add_batch_writes(router: Router) -> None:
    batch_limit = RateLimit(env[BATCHED_PREDICTIONS_PER_MINUTE], _BATCH_BURST)
    batches = BatchService(
        store=build_batch_store(),
        idempotency=build_idempotency_store(),
        factory=build_factory(),
        queue=build_dispatch_queue(),
        canceler=build_canceler(),
        limiter=TenantRateLimiter(build_control_table(), "batches", batch_limit, clock),
        clock=clock,
        budgets=build_budget_gate(),
        check_input=build_input_check(),
        checkpoint=checkpoint,
        counts=build_batch_counts(),
    )
    add_batch_write_routes(
        router,
        parser=build_parser(find_tenant),
        batches=batches,
        large_batches=build_large_batch_service(),
        renderer=build_renderer(),
        clock=clock,
    )


@cache
def build_large_batch_service() -> LargeBatchService:
    files = FileFinder(
        DynamoFileStore(get_client("dynamodb"), env[ACCESS_TABLE]),
        S3FileObjects(get_client("s3"), env[IMAGES_BUCKET]),
        clock,
    )
    return LargeBatchService(
        store=build_large_batch_store(),
        idempotency=build_idempotency_store(),
        find_file=files.find,
        factory=build_factory(),
        starter=build_batch_starter(),
        clock=clock,
        checkpoint=checkpoint,
    )
