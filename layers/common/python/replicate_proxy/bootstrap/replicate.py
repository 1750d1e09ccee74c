"""Clients for Replicate, behind the circuit breaker and the rate limits that all functions share."""

from __future__ import annotations

import time
from functools import cache

from replicate_proxy.bootstrap.control import build_control_table
from replicate_proxy.bootstrap.environment import clock, env
from replicate_proxy.bootstrap.secrets import build_secret_reader
from replicate_proxy.replicate_api.circuit_breaker import BreakerSettings, CircuitBreaker
from replicate_proxy.replicate_api.client import ReplicateClient, Timeouts
from replicate_proxy.replicate_api.connection import open_session
from replicate_proxy.replicate_api.predictions import UpstreamPredictionReader, UpstreamPredictionWriter
from replicate_proxy.replicate_api.rate_limit import RateLimit, RateLimiter
from replicate_proxy.replicate_api.retry import Retry, RetryingClient
from replicate_proxy.settings import (
    BREAKER_OPEN_SECONDS,
    BREAKER_PROBE_LEASE_SECONDS,
    CREATES_BURST,
    CREATES_PER_MINUTE,
    REPLICATE_API_BASE_URL,
    REPLICATE_API_TOKEN,
    REPLICATE_READ_TIMEOUT_SECONDS,
)

# Replicate allows 3,000 requests per minute other than creates; some are left to other users of the account.
_READ_LIMIT = RateLimit(2400, 200)


@cache
def build_prediction_writer() -> UpstreamPredictionWriter:
    """Return the client of the dispatcher."""
    limit = RateLimit(env[CREATES_PER_MINUTE], env[CREATES_BURST])
    return UpstreamPredictionWriter(
        _build_retrying_client(), build_circuit_breaker(), _build_limiter("creates", limit)
    )


@cache
def build_prediction_reader() -> UpstreamPredictionReader:
    """Return the client of the sweep."""
    limiter = _build_limiter("reads", _READ_LIMIT)
    return UpstreamPredictionReader(_build_retrying_client(), build_circuit_breaker(), limiter, time.sleep)


@cache
def build_circuit_breaker() -> CircuitBreaker:
    settings = BreakerSettings(
        open_seconds=env[BREAKER_OPEN_SECONDS],
        probe_lease_seconds=env[BREAKER_PROBE_LEASE_SECONDS],
    )
    return CircuitBreaker(build_control_table(), clock, settings)


@cache
def build_replicate_client() -> ReplicateClient:
    token_name = env[REPLICATE_API_TOKEN]
    return ReplicateClient(
        open_session(),
        env[REPLICATE_API_BASE_URL],
        lambda refresh: build_secret_reader().get(token_name, refresh=refresh),
        Timeouts(read_seconds=env[REPLICATE_READ_TIMEOUT_SECONDS]),
    )


def _build_retrying_client() -> RetryingClient:
    return RetryingClient(build_replicate_client(), Retry())


def _build_limiter(name: str, limit: RateLimit) -> RateLimiter:
    return RateLimiter(build_control_table(), name, limit, clock)
