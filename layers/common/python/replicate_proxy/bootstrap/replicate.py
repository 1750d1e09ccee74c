"""Replicate as the pipeline calls it: behind the breaker and the rate limits that all functions share."""

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
def replicate_client() -> ReplicateClient:
    name = env.text("REPLICATE_API_TOKEN")
    return ReplicateClient(
        open_session(),
        env.text("REPLICATE_API_BASE_URL", "https://api.replicate.com"),
        lambda refresh: secret_reader().get(name, refresh=refresh),
        Timeouts(read_seconds=env.number("UPSTREAM_READ_SECONDS", Timeouts().read_seconds)),
    )


@cache
def circuit_breaker() -> CircuitBreaker:
    usual = BreakerSettings()
    settings = BreakerSettings(
        open_seconds=env.number("BREAKER_RESET_SECONDS", usual.open_seconds),
        probe_lease_seconds=env.number("BREAKER_PROBE_SECONDS", usual.probe_lease_seconds),
    )
    return CircuitBreaker(_control(), clock, settings)


@cache
def prediction_writer() -> PredictionWriter:
    """Replicate allows 600 creates a minute; ours stay a little below."""
    return PredictionWriter(_retrying(), circuit_breaker(), _limiter("creates", 570, 60))


@cache
def prediction_reader() -> PredictionReader:
    """Replicate allows 3,000 other calls a minute; the rest is for those who share the account."""
    return PredictionReader(_retrying(), circuit_breaker(), _limiter("reads", 2400, 200), time.sleep)


def _retrying() -> RetryingClient:
    return RetryingClient(replicate_client(), Retry())


@cache
def _control() -> ControlTable:
    return ControlTable(get_client("dynamodb"), env.text("CONTROL_TABLE"))


def _limiter(name: str, per_minute: int, burst: int) -> RateLimiter:
    pace = RateLimit(
        env.number(f"{name.upper()}_PER_MINUTE", per_minute), env.integer(f"{name.upper()}_BURST", burst)
    )
    return RateLimiter(_control(), name, pace, clock)
