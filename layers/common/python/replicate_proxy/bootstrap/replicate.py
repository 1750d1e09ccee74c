"""Calls to Replicate as the pipeline makes them: creates and cancels behind breaker and rate limit, reads behind theirs."""

from __future__ import annotations

from functools import cache

from replicate_proxy.bootstrap.jobs import env
from replicate_proxy.bootstrap.secrets import secrets
from replicate_proxy.replicate_api.client import ReplicateClient
from replicate_proxy.replicate_api.wire import open_session

__all__ = ["replicate_client"]


@cache
def replicate_client() -> ReplicateClient:
    name = env.text("REPLICATE_API_TOKEN")
    return ReplicateClient(
        open_session(),
        env.text("REPLICATE_API_BASE_URL", "https://api.replicate.com"),
        lambda refresh: secrets().get(name, refresh=refresh),
    )
