"""The updater of jobs and its timeouts, shared by the functions that change jobs."""

from __future__ import annotations

from functools import cache

from replicate_proxy.bootstrap.environment import clock, env
from replicate_proxy.bootstrap.job_stores import build_job_store
from replicate_proxy.costs.shipped_prices import load_price_book
from replicate_proxy.jobs.timeouts import JobTimeouts
from replicate_proxy.jobs.updater import JobUpdater
from replicate_proxy.services.job_costs import JobCosts
from replicate_proxy.services.job_log import log_job_change
from replicate_proxy.services.job_metrics import record_job_end


@cache
def build_job_timeouts() -> JobTimeouts:
    return JobTimeouts.from_env(env)


@cache
def build_job_updater() -> JobUpdater:
    return JobUpdater(
        build_job_store(),
        clock,
        build_job_timeouts(),
        calculate_cost=JobCosts(load_price_book()).calculate,
        on_changed=log_job_change,
        on_ended=record_job_end,
    )
