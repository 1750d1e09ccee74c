"""Handler of the sweep function: every minute, due deliveries, slots, deletions and overdue jobs."""

from __future__ import annotations

from datetime import timedelta
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
from replicate_proxy.services.sweep_run import SweepRun

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

# For the checks that are still running when the sweep ends.
_RESERVED_TIME = timedelta(seconds=8)


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
        run = SweepRun(
            build_deliveries=build_delivery_sweep,
            build_slots=build_slot_repair,
            build_jobs=build_sweeper,
            build_deletions=build_deletion_sweep,
            clock=clock,
        )
        return run.run(now, end - _RESERVED_TIME)
