"""The updater of jobs and its timeouts, shared by the functions that change jobs."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from replicate_proxy.bootstrap.environment import clock, env
from replicate_proxy.bootstrap.job_stores import build_job_store
from replicate_proxy.jobs.timeouts import JobTimeouts

if TYPE_CHECKING:
    from replicate_proxy.jobs.updater import JobUpdater


@cache
def build_job_timeouts() -> JobTimeouts:
    return JobTimeouts.from_env(env)


@cache
def build_job_updater() -> JobUpdater:
    # Imported here so that creates, which only need the timeouts, do not load them in a cold start.
    from replicate_proxy.costs.shipped_prices import load_price_book  # noqa: PLC0415
    from replicate_proxy.jobs.updater import JobUpdater  # noqa: PLC0415
    from replicate_proxy.services.job_costs import JobCosts  # noqa: PLC0415
    from replicate_proxy.services.job_log import log_job_change  # noqa: PLC0415
    from replicate_proxy.services.job_metrics import record_job_end  # noqa: PLC0415

    return JobUpdater(
        build_job_store(),
        clock,
        build_job_timeouts(),
        calculate_cost=JobCosts(load_price_book()).calculate,
        on_changed=log_job_change,
        on_ended=record_job_end,
    )
