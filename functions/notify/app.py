"""Handler of the notify function: changes of jobs free slots, and become deliveries and events."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from replicate_proxy.bootstrap.job_stream import handle_stream_event
from replicate_proxy.bootstrap.notify import build_change_handler
from replicate_proxy.observability import logger, metrics, tracer

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext


@logger.inject_lambda_context(clear_state=True)
@metrics.log_metrics
@tracer.capture_lambda_handler
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Handle a batch of stream records, or replay one from its dead letter."""
    return handle_stream_event(event, build_change_handler().handle)
