"""The composition root of the catalog function: Replicate's read-only and refused endpoints."""

from __future__ import annotations

from functools import cache

from replicate_proxy.api.catalog import add_catalog_routes
from replicate_proxy.api.refused import add_refused_routes
from replicate_proxy.api.routing import Router
from replicate_proxy.bootstrap.control import (
    build_account_directory,
    build_known_models,
    build_known_schemas,
    build_model_entries,
)
from replicate_proxy.bootstrap.environment import env
from replicate_proxy.bootstrap.replicate_clients import build_limiters, build_replicate_clients
from replicate_proxy.replicate_api.rate_limit import RateLimit
from replicate_proxy.replicate_api.retry import Retry, RetryingClient
from replicate_proxy.services.catalog import Catalog, CatalogSettings, ResponseCache
from replicate_proxy.services.schema_refresh import SchemaRecorder
from replicate_proxy.settings import (
    PUBLIC_BASE_URL,
    REPLICATE_API_BASE_URL,
)

_REPLICATE_URL = "https://api.replicate.com"
_TOTAL_TIMEOUT_SECONDS = 15.0
# A tenth of the 3,000 reads per minute that Replicate allows; the rest is for running jobs.
_READ_LIMIT = RateLimit(300, 100)
_CACHE_BYTES = 32 * 1024 * 1024


@cache
def build_router() -> Router:
    """Build the routes once per execution environment.

    The client has no circuit breaker: failing searches must not stop jobs from being submitted, and an open
    circuit must not stop searches.
    """
    base_url = env[REPLICATE_API_BASE_URL].rstrip("/")
    schemas = build_known_schemas()
    retry = Retry(max_attempts=3, budget_seconds=_TOTAL_TIMEOUT_SECONDS)
    clients = build_replicate_clients()
    catalog = Catalog(
        lambda account: RetryingClient(clients.of(account), retry),
        build_limiters("catalog", _READ_LIMIT).of,
        ResponseCache(_CACHE_BYTES),
        CatalogSettings(replicate_origins=tuple(dict.fromkeys((base_url, _REPLICATE_URL)))),
        build_known_models(),
        SchemaRecorder(schemas) if schemas is not None else None,
        build_account_directory().find,
    )
    router = Router(public_base_url=env[PUBLIC_BASE_URL])
    add_catalog_routes(router, catalog, build_model_entries())
    add_refused_routes(router)
    return router
