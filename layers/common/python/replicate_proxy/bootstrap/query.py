"""What the query function is made of."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from replicate_proxy.api.query import query_routes
from replicate_proxy.bootstrap.documents import documents
from replicate_proxy.bootstrap.jobs import store
from replicate_proxy.bootstrap.surroundings import env
from replicate_proxy.services.query import Query
from replicate_proxy.services.views import Views

if TYPE_CHECKING:
    from replicate_proxy.ports import JobReader
    from replicate_proxy.web import Routes

__all__ = ["routes"]


@cache
def routes() -> Routes:
    return query_routes(Query(_jobs(), Views(documents())), public_base_url=env.text("PUBLIC_BASE_URL", ""))


def _jobs() -> JobReader:
    endpoint = env.text("DAX_ENDPOINT", "")
    if not endpoint:
        return store()
    # Here and not above: who has no DAX does not pay for it in cold starts.
    from replicate_proxy.bootstrap.dax import cached_jobs  # noqa: PLC0415

    return cached_jobs(endpoint)
