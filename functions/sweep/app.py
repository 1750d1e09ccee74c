"""Handler of the sweep function: every minute, due deliveries, slots, overdue jobs and deletions."""

from __future__ import annotations

from contextlib import ExitStack
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from replicate_proxy.bootstrap.environment import clock
from replicate_proxy.bootstrap.sweep import (
    build_deletion_sweep,
    build_delivery_sweep,
    build_slot_repair,
    build_sweep_lease,
    build_sweeper,
    start_workers,
)
from replicate_proxy.observability import logger, metrics, tracer

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

# For the checks that are still running when the sweep ends.
_RESERVED_TIME = timedelta(seconds=8)
# How much of a sweep the deliveries, and the lines of concurrency limits, may take.
_MAX_DELIVERIES_TIME = timedelta(seconds=12)
_MAX_SLOTS_TIME = timedelta(seconds=8)


@logger.inject_lambda_context(clear_state=True)
@metrics.log_metrics
@tracer.capture_lambda_handler
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Return what was done. A second sweep at the same time does nothing: it returns that it was skipped."""
    now = clock.now()
    end = now + timedelta(milliseconds=context.get_remaining_time_in_millis())
    with build_sweep_lease().hold(until=end) as is_free:
        if not is_free:
            logger.info("sweep skipped, another one is running")
            return {"skipped": True}
        start_workers()
        return _sweep(now, end - _RESERVED_TIME)


def _sweep(now: datetime, deadline: datetime) -> dict[str, Any]:
    counts: dict[str, Any] = {}
    with ExitStack() as parts:  # The last one runs first. Each runs even if an earlier one fails.
        parts.callback(lambda: counts.update(deletions=build_deletion_sweep().delete_jobs(deadline)))
        parts.callback(lambda: counts.update(build_sweeper().sweep_jobs(deadline).describe()))
        parts.callback(lambda: counts.update(resumed=_repair_slots(deadline)))
        counts["deliveries"] = build_delivery_sweep().enqueue_due(
            now, min(deadline, now + _MAX_DELIVERIES_TIME)
        )
    logger.info("sweep finished", **counts)
    return counts


def _repair_slots(deadline: datetime) -> int:
    return build_slot_repair().run(min(deadline, clock.now() + _MAX_SLOTS_TIME))
