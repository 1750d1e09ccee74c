"""The composition root of the query function: reads of predictions and batches, health, CORS preflights."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from replicate_proxy.api.health import add_health_routes
from replicate_proxy.api.predictions.read_routes import add_prediction_read_routes
from replicate_proxy.api.routing import Router
from replicate_proxy.aws.clients import get_client
from replicate_proxy.aws.progress_claims import ControlTableProgressClaims
from replicate_proxy.aws.queues import SqsCommandQueue
from replicate_proxy.bootstrap.control_table import build_control_table
from replicate_proxy.bootstrap.environment import clock, env
from replicate_proxy.bootstrap.job_stores import build_batch_store, build_job_store, build_line_store
from replicate_proxy.bootstrap.rendering import build_renderer
from replicate_proxy.services.prediction_list import PredictionList
from replicate_proxy.services.progress_request import ProgressRequester
from replicate_proxy.services.query import PredictionReader
from replicate_proxy.settings import (
    DAX_ENDPOINT,
    DISPATCH_QUEUE_URL,
    PROGRESS_INTERVAL_SECONDS,
    PUBLIC_BASE_URL,
)

if TYPE_CHECKING:
    from replicate_proxy.jobs.model import Batch
    from replicate_proxy.ports import JobReader


@cache
def build_router() -> Router:
    """Build the routes once per execution environment."""
    router = Router(public_base_url=env[PUBLIC_BASE_URL])
    jobs = _build_job_reader()
    reader = PredictionReader(jobs, build_renderer(), _build_progress_requester(), build_line_store())
    add_prediction_read_routes(router, reader, PredictionList(jobs, _find_batch, build_renderer()))
    add_health_routes(router)
    router.add_group("/v1/batches", _add_batch_reads)
    router.add_group("/streams/", _add_stream_reads)
    router.add_group("/v1/usage", _add_usage_reads)
    router.add_group("/v1/status", _add_queue_status_reads)
    return router


def _add_batch_reads(router: Router) -> None:
    from replicate_proxy.bootstrap.batch_reads import add_batch_reads  # noqa: PLC0415 - see Router.add_group

    add_batch_reads(router)


def _add_stream_reads(router: Router) -> None:
    from replicate_proxy.bootstrap.stream_reads import add_stream_reads  # noqa: PLC0415 - see Router.add_group

    add_stream_reads(router)


def _add_usage_reads(router: Router) -> None:
    from replicate_proxy.api.usage import add_usage_routes  # noqa: PLC0415 - see Router.add_group
    from replicate_proxy.bootstrap.usage_reader import build_usage_reader  # noqa: PLC0415

    add_usage_routes(router, build_usage_reader(), clock)


def _add_queue_status_reads(router: Router) -> None:
    from replicate_proxy.api.queue_status import add_queue_status_routes  # noqa: PLC0415 - see Router.add_group
    from replicate_proxy.bootstrap.queue_status import build_queue_status_reader  # noqa: PLC0415

    add_queue_status_routes(router, build_queue_status_reader())


def _find_batch(tenant: str, batch_id: str) -> Batch | None:
    return build_batch_store().get(tenant, batch_id)


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
