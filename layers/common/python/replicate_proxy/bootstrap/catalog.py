"""What the catalog function is made of."""

from __future__ import annotations

import os
from functools import cache
from typing import TYPE_CHECKING

from replicate_proxy.api.catalog import catalog_routes
from replicate_proxy.aws.clients import get_client
from replicate_proxy.aws.control_table import ControlTable
from replicate_proxy.bootstrap.secrets import secret_reader
from replicate_proxy.clock import SystemClock
from replicate_proxy.config import Environment
from replicate_proxy.replicate_api.client import ReplicateClient
from replicate_proxy.replicate_api.connection import open_session
from replicate_proxy.replicate_api.rate_limit import RateLimit, RateLimiter
from replicate_proxy.replicate_api.retry import Retry, RetryingClient
from replicate_proxy.services.catalog import Catalog, CatalogSettings, ReplyCache
from replicate_proxy.settings import (
    CONTROL_TABLE,
    PUBLIC_BASE_URL,
    REPLICATE_API_BASE_URL,
    REPLICATE_API_TOKEN,
)

if TYPE_CHECKING:
    from replicate_proxy.api.http import Router


_REPLICATE = "https://api.replicate.com"
_REQUESTS_PER_MINUTE = 300
_BURST = 100
_SECONDS_TO_ANSWER = 15.0
_CACHE_BYTES = 32 * 1024 * 1024


@cache
def routes() -> Router:
    """Without the breaker: an ill search must not stop jobs from being sent, nor the other way round."""
    env = Environment(os.environ)
    base_url = env[REPLICATE_API_BASE_URL].rstrip("/")
    token = env[REPLICATE_API_TOKEN]
    replicate = ReplicateClient(
        open_session(), base_url, lambda refresh: secret_reader().get(token, refresh=refresh)
    )
    limit = RateLimit(_REQUESTS_PER_MINUTE, _BURST)
    catalog = Catalog(
        RetryingClient(replicate, Retry(max_attempts=3, budget_seconds=_SECONDS_TO_ANSWER)),
        RateLimiter(
            ControlTable(get_client("dynamodb"), env[CONTROL_TABLE]), "catalog", limit, SystemClock()
        ),
        ReplyCache(_CACHE_BYTES),
        CatalogSettings(
            origins=tuple(dict.fromkeys((base_url, _REPLICATE))),
        ),
    )
    return catalog_routes(catalog, public_base_url=env[PUBLIC_BASE_URL].rstrip("/"))
