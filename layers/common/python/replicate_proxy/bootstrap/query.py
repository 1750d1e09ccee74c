"""What the query function is made of."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from replicate_proxy.api.batches import batch_query_routes
from replicate_proxy.api.predictions.read_routes import query_routes
from replicate_proxy.bootstrap.documents import documents
from replicate_proxy.bootstrap.environment import env
from replicate_proxy.bootstrap.jobs import batch_store, store
from replicate_proxy.services.batches import Batches
from replicate_proxy.services.query import Query
from replicate_proxy.services.rendering import Views

if TYPE_CHECKING:
    from replicate_proxy.api.http import Routes
    from replicate_proxy.ports import JobReader


@cache
def routes() -> Routes:
    views = Views(documents())
    made = query_routes(Query(_jobs(), views), public_base_url=env.text("PUBLIC_BASE_URL", ""))
    batch_query_routes(made, batches=Batches(batch_store()), views=views)
    return made


def _jobs() -> JobReader:
    endpoint = env.text("DAX_ENDPOINT", "")
    if not endpoint:
        return store()
    # Here and not above: who has no DAX does not pay for it in cold starts.
    from replicate_proxy.bootstrap.dax import cached_jobs  # noqa: PLC0415

    return cached_jobs(endpoint)
