"""Looks, every minute, at everything that is overdue: jobs first, then deliveries."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from replicate_proxy.bootstrap.sweep import clock, deliveries, sweep
from replicate_proxy.observability import logger, metrics, tracer

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

# What is kept back of the invocation's time to end in good order.
_RESERVE = timedelta(seconds=8)
# The most that handing over deliveries may take of a pass.
_DELIVERIES = timedelta(seconds=12)


@logger.inject_lambda_context(clear_state=True)
@metrics.log_metrics
@tracer.capture_lambda_handler
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Gives back how many jobs were looked at, by outcome, and whether the pass came to its end."""
    now = clock.now()
    until = now + timedelta(milliseconds=context.get_remaining_time_in_millis()) - _RESERVE
    try:
        sent = deliveries().run(now, min(until, now + _DELIVERIES))
    finally:
        # Whatever becomes of deliveries: no job waits for them.
        result = sweep().run(until)
    logger.info("sweep done", jobs=result.outcomes, deliveries=sent, finished=result.finished)
    return {"jobs": dict(result.outcomes), "deliveries": sent, "finished": result.finished}
