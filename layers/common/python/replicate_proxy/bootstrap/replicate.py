"""Replicate as the pipeline calls it: behind the breaker and the rate limits that all functions share."""

from __future__ import annotations

import time
from functools import cache

from replicate_proxy.aws.clients import get_client
from replicate_proxy.aws.control_table import ControlTable
from replicate_proxy.bootstrap.environment import clock, env
from replicate_proxy.bootstrap.secrets import secret_reader
from replicate_proxy.replicate_api.circuit_breaker import Breaker, BreakerSettings
from replicate_proxy.replicate_api.client import ReplicateClient, Timeouts
from replicate_proxy.replicate_api.connection import open_session
from replicate_proxy.replicate_api.guarded import GuardedPredictions, GuardedReads
from replicate_proxy.replicate_api.rate_limit import Pace, RateLimiter
from replicate_proxy.replicate_api.retry import Retry, RetryingClient


@cache
def replicate_client() -> ReplicateClient:
    name = env.text("REPLICATE_API_TOKEN")
    return ReplicateClient(
        open_session(),
        env.text("REPLICATE_API_BASE_URL", "https://api.replicate.com"),
        lambda refresh: secret_reader().get(name, refresh=refresh),
        Timeouts(read=env.number("UPSTREAM_READ_SECONDS", Timeouts().read)),
    )


@cache
def breaker() -> Breaker:
    usual = BreakerSettings()
    settings = BreakerSettings(
        reset_seconds=env.number("BREAKER_RESET_SECONDS", usual.reset_seconds),
        probe_seconds=env.number("BREAKER_PROBE_SECONDS", usual.probe_seconds),
    )
    return Breaker(_control(), clock, settings)


@cache
def predictions() -> GuardedPredictions:
    """Replicate allows 600 creates a minute; ours stay a little below."""
    return GuardedPredictions(_retrying(), breaker(), _limiter("creates", 570, 60))


@cache
def reads() -> GuardedReads:
    """Replicate allows 3,000 other calls a minute; the rest is for those who share the account."""
    return GuardedReads(_retrying(), breaker(), _limiter("reads", 2400, 200), time.sleep)


def _retrying() -> RetryingClient:
    return RetryingClient(replicate_client(), Retry())


@cache
def _control() -> ControlTable:
    return ControlTable(get_client("dynamodb"), env.text("CONTROL_TABLE"))


def _limiter(name: str, per_minute: int, burst: int) -> RateLimiter:
    pace = Pace(
        env.number(f"{name.upper()}_PER_MINUTE", per_minute), env.integer(f"{name.upper()}_BURST", burst)
    )
    return RateLimiter(_control(), name, pace, clock)
