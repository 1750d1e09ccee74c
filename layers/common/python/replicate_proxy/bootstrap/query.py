"""The composition root of the query function: reads of predictions and batches, health, CORS preflights."""

from __future__ import annotations

import time
from functools import cache
from typing import TYPE_CHECKING

from replicate_proxy.api.batches import add_batch_read_routes
from replicate_proxy.api.health import add_health_routes
from replicate_proxy.api.predictions.read_routes import add_prediction_read_routes
from replicate_proxy.api.queue_status import add_queue_status_routes
from replicate_proxy.api.routing import Router
from replicate_proxy.api.streams import add_stream_routes
from replicate_proxy.api.usage import add_usage_routes
from replicate_proxy.aws.clients import get_client
from replicate_proxy.aws.progress_claims import ControlTableProgressClaims
from replicate_proxy.aws.queues import SqsCommandQueue
from replicate_proxy.aws.wait_limiter import ControlTableWaitLimiter
from replicate_proxy.bootstrap.batch_results import build_batch_counts, build_batch_results
from replicate_proxy.bootstrap.control import build_control_table
from replicate_proxy.bootstrap.documents import build_document_store
from replicate_proxy.bootstrap.environment import clock, env
from replicate_proxy.bootstrap.job_stores import build_batch_store, build_job_store, build_line_store
from replicate_proxy.bootstrap.private_urls import build_url_signer
from replicate_proxy.bootstrap.secrets import load_stream_signing_key
from replicate_proxy.bootstrap.usage_reader import build_usage_reader
from replicate_proxy.services.batch_list import BatchList
from replicate_proxy.services.prediction_list import PredictionList
from replicate_proxy.services.progress_request import ProgressRequester
from replicate_proxy.services.query import BatchReader, PredictionReader
from replicate_proxy.services.rendering import PredictionRenderer
from replicate_proxy.services.stream_replay import StreamReplay
from replicate_proxy.services.wait import JobWaiter
from replicate_proxy.settings import (
    DAX_ENDPOINT,
    DISPATCH_QUEUE_URL,
    MAX_WAITING_REQUESTS,
    MAX_WAITING_REQUESTS_PER_TENANT,
    PROGRESS_INTERVAL_SECONDS,
    PUBLIC_BASE_URL,
)

if TYPE_CHECKING:
    from replicate_proxy.ports import JobReader
    from replicate_proxy.services.queue_status import QueueStatusReader


# The Python client gives up after 30 seconds without a byte, as API Gateway does by default.
_MAX_STREAM_WAIT_SECONDS = 25


@cache
def build_router() -> Router:
    """Build the routes once per execution environment."""
    renderer = PredictionRenderer(build_document_store(), sign_urls=build_url_signer().sign_urls)
    router = Router(public_base_url=env[PUBLIC_BASE_URL])
    jobs, store, counts = _build_job_reader(), build_batch_store(), build_batch_counts()
    reader = PredictionReader(jobs, renderer, _build_progress_requester(), build_line_store())
    add_prediction_read_routes(router, reader, PredictionList(jobs, store, renderer))
    add_batch_read_routes(
        router,
        batches=BatchReader(store, counts),
        batch_list=BatchList(store, counts),
        results=build_batch_results(),
        renderer=renderer,
        clock=clock,
    )
    add_stream_routes(router, _build_stream_replay())
    add_usage_routes(router, build_usage_reader(), clock)
    add_queue_status_routes(router, _load_queue_status_reader)
    add_health_routes(router)
    return router


def _load_queue_status_reader() -> QueueStatusReader:
    # Imported here so that other reads do not load the circuit breaker in a cold start.
    from replicate_proxy.bootstrap.queue_status import build_queue_status_reader  # noqa: PLC0415

    return build_queue_status_reader()


def _build_stream_replay() -> StreamReplay:
    limiter = ControlTableWaitLimiter(
        build_control_table(), clock, env[MAX_WAITING_REQUESTS], env[MAX_WAITING_REQUESTS_PER_TENANT]
    )
    waiter = JobWaiter(build_job_store(), clock, time.sleep, _MAX_STREAM_WAIT_SECONDS, limiter=limiter)
    return StreamReplay(
        build_job_store(),
        build_document_store(),
        waiter,
        load_stream_signing_key,
        _MAX_STREAM_WAIT_SECONDS,
        build_url_signer().sign_urls,
    )


def _build_progress_requester() -> ProgressRequester:
    return ProgressRequester(
        ControlTableProgressClaims(build_control_table(), clock),
        SqsCommandQueue(get_client("sqs"), env[DISPATCH_QUEUE_URL]),
        clock,
        min_interval_seconds=env[PROGRESS_INTERVAL_SECONDS],
    )


def _build_job_reader() -> JobReader:
    endpoint = env[DAX_ENDPOINT]
    if not endpoint:
        return build_job_store()
    # Imported here so that deployments without DAX do not load its client in a cold start.
    from replicate_proxy.bootstrap.dax import build_cached_job_reader  # noqa: PLC0415

    return build_cached_job_reader(endpoint)
