"""Clients for Replicate, behind the circuit breaker and the rate limits that all functions share."""

from __future__ import annotations

import time
from functools import cache

from replicate_proxy.aws.clients import get_client
from replicate_proxy.aws.control_table import ControlTable
from replicate_proxy.bootstrap.environment import clock, env
from replicate_proxy.bootstrap.secrets import secret_reader
from replicate_proxy.replicate_api.circuit_breaker import BreakerSettings, CircuitBreaker
from replicate_proxy.replicate_api.client import ReplicateClient, Timeouts
from replicate_proxy.replicate_api.connection import open_session
from replicate_proxy.replicate_api.predictions import PredictionReader, PredictionWriter
from replicate_proxy.replicate_api.rate_limit import RateLimit, RateLimiter
from replicate_proxy.replicate_api.retry import Retry, RetryingClient


@cache
def prediction_writer() -> PredictionWriter:
    """Return the client of the dispatcher. Its limit is below Replicate's 600 creates per minute."""
    return PredictionWriter(_build_retrying_client(), circuit_breaker(), _build_limiter("creates", 570, 60))


@cache
def prediction_reader() -> PredictionReader:
    """Return the client of the sweep.

    Replicate allows 3,000 other calls per minute; the difference is for other users of the account.
    """
    return PredictionReader(
        _build_retrying_client(), circuit_breaker(), _build_limiter("reads", 2400, 200), time.sleep
    )


@cache
def circuit_breaker() -> CircuitBreaker:
    defaults = BreakerSettings()
    settings = BreakerSettings(
        open_seconds=env.number("BREAKER_RESET_SECONDS", defaults.open_seconds),
        probe_lease_seconds=env.number("BREAKER_PROBE_SECONDS", defaults.probe_lease_seconds),
    )
    return CircuitBreaker(_control_table(), clock, settings)


@cache
def replicate_client() -> ReplicateClient:
    token_name = env.text("REPLICATE_API_TOKEN")
    return ReplicateClient(
        open_session(),
        env.text("REPLICATE_API_BASE_URL", "https://api.replicate.com"),
        lambda refresh: secret_reader().get(token_name, refresh=refresh),
        Timeouts(read_seconds=env.number("UPSTREAM_READ_SECONDS", Timeouts().read_seconds)),
    )


@cache
def _control_table() -> ControlTable:
    return ControlTable(get_client("dynamodb"), env.text("CONTROL_TABLE"))


def _build_retrying_client() -> RetryingClient:
    return RetryingClient(replicate_client(), Retry())


def _build_limiter(name: str, per_minute: int, burst: int) -> RateLimiter:
    """Build the limiter `name`. Environment variables override its limit."""
    limit = RateLimit(
        env.number(f"{name.upper()}_PER_MINUTE", per_minute), env.integer(f"{name.upper()}_BURST", burst)
    )
    return RateLimiter(_control_table(), name, limit, clock)
