"""HTTP clients and rate limiters for Replicate, by account."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from replicate_proxy.accounts.per_account import PerAccount
from replicate_proxy.bootstrap.control_table import build_control_table
from replicate_proxy.bootstrap.environment import clock, env
from replicate_proxy.bootstrap.secrets import build_secret_reader, name_tenant_token
from replicate_proxy.observability import Metric
from replicate_proxy.replicate_api.client import ReplicateClient, Timeouts
from replicate_proxy.replicate_api.connection import open_session
from replicate_proxy.replicate_api.rate_limit import RateLimit, RateLimiter
from replicate_proxy.settings import (
    REPLICATE_API_BASE_URL,
    REPLICATE_API_TOKEN,
    REPLICATE_READ_TIMEOUT_SECONDS,
)

if TYPE_CHECKING:
    from replicate_proxy.jobs.model import Account


@cache
def build_replicate_clients() -> PerAccount[ReplicateClient]:
    return PerAccount(_build_client)


def build_limiters(name: str, limit: RateLimit, *, reserve: int = 0) -> PerAccount[RateLimiter]:
    """Return rate limiters that all functions share by this name, with a reserve for other callers."""
    return PerAccount(
        lambda account: RateLimiter(
            build_control_table(), account.qualify(name), limit, clock, reserve=reserve
        )
    )


def build_client_with_token(token: str) -> ReplicateClient:
    """Return a client for a token that is not stored."""
    return ReplicateClient(
        open_session(),
        env[REPLICATE_API_BASE_URL],
        lambda _refresh: token,
        rejected_metric=Metric.TENANT_TOKEN_REJECTED,
    )


def _build_client(account: Account) -> ReplicateClient:
    token_name = env[REPLICATE_API_TOKEN] if account.is_shared else name_tenant_token(account)
    return ReplicateClient(
        open_session(),
        env[REPLICATE_API_BASE_URL],
        lambda refresh: build_secret_reader().get(token_name, refresh=refresh),
        Timeouts(read_seconds=env[REPLICATE_READ_TIMEOUT_SECONDS]),
        rejected_metric=Metric.TOKEN_REJECTED if account.is_shared else Metric.TENANT_TOKEN_REJECTED,
    )
