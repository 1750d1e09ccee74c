"""Replicate as the pipeline calls it: behind the breaker and the rate limits that all functions share."""

from __future__ import annotations

from functools import cache

from replicate_proxy.aws import client
from replicate_proxy.bootstrap.jobs import clock, env
from replicate_proxy.bootstrap.secrets import secrets
from replicate_proxy.replicate_api.breaker import Breaker
from replicate_proxy.replicate_api.bucket import Pace
from replicate_proxy.replicate_api.client import ReplicateClient
from replicate_proxy.replicate_api.control import ControlTable
from replicate_proxy.replicate_api.guarded import GuardedReplicate
from replicate_proxy.replicate_api.rate import RateLimiter
from replicate_proxy.replicate_api.retry import Retry
from replicate_proxy.replicate_api.wire import open_session

__all__ = ["breaker", "replicate", "replicate_client"]


@cache
def replicate_client() -> ReplicateClient:
    name = env.text("REPLICATE_API_TOKEN")
    return ReplicateClient(
        open_session(),
        env.text("REPLICATE_API_BASE_URL", "https://api.replicate.com"),
        lambda refresh: secrets().get(name, refresh=refresh),
    )


@cache
def breaker() -> Breaker:
    return Breaker(_control(), clock)


@cache
def replicate() -> GuardedReplicate:
    """Replicate's own limits are 600 creates and 3,000 other calls a minute; ours stay a little below."""
    return GuardedReplicate(
        client=replicate_client(),
        breaker=breaker(),
        creates=RateLimiter(_control(), "creates", _pace("CREATES", 570, 60), clock),
        reads=RateLimiter(_control(), "reads", _pace("READS", 2400, 200), clock),
        retry=Retry(),
    )


@cache
def _control() -> ControlTable:
    return ControlTable(client("dynamodb"), env.text("CONTROL_TABLE"))


def _pace(name: str, per_minute: int, burst: int) -> Pace:
    return Pace(env.number(f"{name}_PER_MINUTE", per_minute), env.integer(f"{name}_BURST", burst))
