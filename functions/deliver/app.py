"""Handler of the deliver function: send signed webhooks to applications and record every attempt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from replicate_proxy.bootstrap.deliver import build_deliverer
from replicate_proxy.consumer import handle_messages, identify_job
from replicate_proxy.observability import logger, metrics, tracer
from replicate_proxy.webhooks.commands import DeliverCommand

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext


@tracer.capture_method
def handle_message(body: str) -> None:
    command = DeliverCommand.from_json(body)
    identify_job(command)
    build_deliverer().deliver(command)


@logger.inject_lambda_context(clear_state=True)
@metrics.log_metrics
@tracer.capture_lambda_handler
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    return handle_messages(event, handle_message)
