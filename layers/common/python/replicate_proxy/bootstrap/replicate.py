"""Clients for Replicate by account, behind circuit breakers and rate limits that all functions share."""

from __future__ import annotations

import time
from functools import cache
from typing import TYPE_CHECKING

from replicate_proxy.accounts.per_account import PerAccount
from replicate_proxy.bootstrap.control_table import build_control_table
from replicate_proxy.bootstrap.environment import clock, env
from replicate_proxy.bootstrap.replicate_clients import build_limiters, build_replicate_clients
from replicate_proxy.replicate_api.circuit_breaker import BreakerSettings, CircuitBreaker
from replicate_proxy.replicate_api.predictions import UpstreamPredictionReader, UpstreamPredictionWriter
from replicate_proxy.replicate_api.rate_limit import RateLimit
from replicate_proxy.replicate_api.retry import Retry, RetryingClient
from replicate_proxy.settings import (
    BREAKER_OPEN_SECONDS,
    BREAKER_PROBE_LEASE_SECONDS,
    CREATES_BURST,
    CREATES_PER_MINUTE,
)

if TYPE_CHECKING:
    from replicate_proxy.jobs.model import Account
    from replicate_proxy.replicate_api.rate_limit import RateLimiter

# Replicate allows 3,000 requests per minute other than creates; some are left to other users of the account.
_READ_LIMIT = RateLimit(2400, 200)


@cache
def build_prediction_writers() -> PerAccount[UpstreamPredictionWriter]:
    """Return the clients of the dispatcher."""
    limiters = build_create_limiters()
    batch_limiters = build_limiters(
        "creates",
        RateLimit(env[CREATES_PER_MINUTE], env[CREATES_BURST]),
        reserve=env[CREATES_BURST] // 2,
    )
    return PerAccount(
        lambda account: UpstreamPredictionWriter(
            _build_retrying_client(account),
            build_circuit_breakers().of(account),
            limiters.of(account),
            batch_limiters.of(account),
        )
    )


@cache
def build_prediction_readers() -> PerAccount[UpstreamPredictionReader]:
    """Return the clients of the sweep, and of what dispatch reads: progress and schemas."""
    limiters = build_read_limiters()
    return PerAccount(
        lambda account: UpstreamPredictionReader(
            _build_retrying_client(account),
            build_circuit_breakers().of(account),
            limiters.of(account),
            time.sleep,
        )
    )


@cache
def build_create_limiters() -> PerAccount[RateLimiter]:
    return build_limiters("creates", RateLimit(env[CREATES_PER_MINUTE], env[CREATES_BURST]))


@cache
def build_read_limiters() -> PerAccount[RateLimiter]:
    return build_limiters("reads", _READ_LIMIT)


@cache
def build_circuit_breakers() -> PerAccount[CircuitBreaker]:
    settings = BreakerSettings(
        open_seconds=env[BREAKER_OPEN_SECONDS],
        probe_lease_seconds=env[BREAKER_PROBE_LEASE_SECONDS],
    )
    return PerAccount(lambda account: CircuitBreaker(build_control_table(), clock, settings, account=account))


def _build_retrying_client(account: Account) -> RetryingClient:
    return RetryingClient(build_replicate_clients().of(account), Retry())
