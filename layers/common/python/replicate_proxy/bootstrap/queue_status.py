"""What reads the state of a tenant's queue. It calls nothing but the tables."""

from __future__ import annotations

from functools import cache

from replicate_proxy.accounts.per_account import PerAccount
from replicate_proxy.bootstrap.concurrency import build_concurrency_limits, build_slot_store
from replicate_proxy.bootstrap.control import (
    build_account_directory,
    build_delivery_pause_switch,
    build_pause_switch,
)
from replicate_proxy.bootstrap.control_table import build_control_table
from replicate_proxy.bootstrap.environment import clock, env
from replicate_proxy.bootstrap.job_stores import build_job_store
from replicate_proxy.replicate_api.circuit_breaker import CircuitBreaker
from replicate_proxy.replicate_api.rate_limit import RateLimit, RateLimiter
from replicate_proxy.services.queue_status import MAX_STATUS_JOBS, STATUS_CACHE_SECONDS, QueueStatusReader
from replicate_proxy.settings import CREATES_BURST, CREATES_PER_MINUTE


@cache
def build_queue_status_reader(
    max_jobs: int = MAX_STATUS_JOBS, cache_seconds: float = STATUS_CACHE_SECONDS
) -> QueueStatusReader:
    table = build_control_table()
    limit = RateLimit(env[CREATES_PER_MINUTE], env[CREATES_BURST])
    limiters = PerAccount(lambda account: RateLimiter(table, account.qualify("creates"), limit, clock))
    breakers = PerAccount(lambda account: CircuitBreaker(table, clock, account=account))
    return QueueStatusReader(
        jobs=build_job_store(),
        slots=build_slot_store(),
        find_max=build_concurrency_limits().find_max,
        find_account=build_account_directory().find,
        find_pause=build_pause_switch().find,
        find_delivery_pause=build_delivery_pause_switch().find,
        read_creates=lambda account: limiters.of(account).read_state(),
        read_breaker=lambda account: breakers.of(account).read_status(),
        now=clock.now,
        max_jobs=max_jobs,
        cache_seconds=cache_seconds,
    )
