"""What the query function is made of."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from replicate_proxy.api.batches import add_batch_read_routes
from replicate_proxy.api.predictions.read_routes import query_routes
from replicate_proxy.bootstrap.documents import document_store
from replicate_proxy.bootstrap.environment import env
from replicate_proxy.bootstrap.jobs import batch_store, job_store
from replicate_proxy.services.batches import BatchReader
from replicate_proxy.services.query import PredictionReader
from replicate_proxy.services.rendering import PredictionRenderer
from replicate_proxy.settings import DAX_ENDPOINT, PUBLIC_BASE_URL

if TYPE_CHECKING:
    from replicate_proxy.api.http import Router
    from replicate_proxy.ports import JobReader


@cache
def routes() -> Router:
    views = PredictionRenderer(document_store())
    made = query_routes(PredictionReader(_jobs(), views), public_base_url=env[PUBLIC_BASE_URL])
    add_batch_read_routes(made, batches=BatchReader(batch_store()), views=views)
    return made


def _jobs() -> JobReader:
    endpoint = env[DAX_ENDPOINT]
    if not endpoint:
        return job_store()
    # Here and not above: who has no DAX does not pay for it in cold starts.
    from replicate_proxy.bootstrap.dax import build_cached_jobs  # noqa: PLC0415

    return build_cached_jobs(endpoint)
