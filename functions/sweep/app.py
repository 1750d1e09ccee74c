"""Handler of the sweep function: every minute, enqueue due deliveries, check slots and overdue jobs."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from replicate_proxy.bootstrap.bulk_worker import build_bulk_continuation
from replicate_proxy.bootstrap.environment import clock
from replicate_proxy.bootstrap.sweep import (
    build_delivery_sweep,
    build_slot_repair,
    build_sweep_lease,
    build_sweeper,
)
from replicate_proxy.observability import logger, metrics, tracer

if TYPE_CHECKING:
    from datetime import datetime

    from aws_lambda_powertools.utilities.typing import LambdaContext

# Time for the checks that are still running when the sweep ends.
_RESERVED_TIME = timedelta(seconds=8)
# How much of a sweep the deliveries may take.
_MAX_DELIVERIES_TIME = timedelta(seconds=12)
# How much of it the lines of concurrency limits may take.
_MAX_SLOTS_TIME = timedelta(seconds=8)


@logger.inject_lambda_context(clear_state=True)
@metrics.log_metrics
@tracer.capture_lambda_handler
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Return how many jobs were checked, by outcome, and whether all due jobs were.

    A second sweep at the same time does nothing: it returns that it was skipped.
    """
    now = clock.now()
    end = now + timedelta(milliseconds=context.get_remaining_time_in_millis())
    with build_sweep_lease().hold(until=end) as is_free:
        if not is_free:
            logger.info("sweep skipped, another one is running")
            return {"skipped": True}
        build_bulk_continuation().start_worker()
        return _sweep(now, end - _RESERVED_TIME)


def _sweep(now: datetime, deadline: datetime) -> dict[str, Any]:
    try:
        sent = build_delivery_sweep().enqueue_due(now, min(deadline, now + _MAX_DELIVERIES_TIME))
    finally:
        # Jobs are checked even if the deliveries or the slots fail.
        try:
            resumed = build_slot_repair().run(min(deadline, clock.now() + _MAX_SLOTS_TIME))
        finally:
            result = build_sweeper().sweep_jobs(deadline)
    outcomes = {outcome.value: jobs for outcome, jobs in result.outcomes.items()}
    logger.info("sweep finished", jobs=outcomes, deliveries=sent, resumed=resumed, finished=result.finished)
    return {"jobs": outcomes, "deliveries": sent, "resumed": resumed, "finished": result.finished}
