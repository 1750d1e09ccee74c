"""Handler of the batch function: the work on large batches, which ingest and the sweep start."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from replicate_proxy.bootstrap.batch import build_batch_worker
from replicate_proxy.bootstrap.environment import clock
from replicate_proxy.observability import logger, metrics, tracer

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

# For the step that is still being done when the time is up.
_RESERVED_TIME = timedelta(seconds=20)


@logger.inject_lambda_context(clear_state=True)
@metrics.log_metrics
@tracer.capture_lambda_handler
def lambda_handler(_event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Work as long as there is something to do and time left. The sweep has the worker go on."""
    end = clock.now() + timedelta(milliseconds=context.get_remaining_time_in_millis())
    steps = build_batch_worker().run(end - _RESERVED_TIME)
    logger.info("batches finished", steps=steps)
    return {"steps": steps}
