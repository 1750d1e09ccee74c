"""Handler of the dispatch function: create predictions of queued jobs on Replicate, and cancel them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from replicate_proxy.bootstrap.dispatch import build_dispatcher
from replicate_proxy.consumer import handle_messages, identify_job
from replicate_proxy.contracts.commands import DispatchCommand
from replicate_proxy.observability import logger, metrics, tracer
from replicate_proxy.replicate_api.retry import retry_budget

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

# Time at the end of an invocation to record the outcome of a call.
_RESERVED_SECONDS = 5


@tracer.capture_method
def handle_message(body: str) -> None:
    command = DispatchCommand.from_json(body)
    identify_job(command)
    build_dispatcher().handle_command(command)


@logger.inject_lambda_context(clear_state=True)
@metrics.log_metrics
@tracer.capture_lambda_handler
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    with retry_budget(context.get_remaining_time_in_millis() / 1000 - _RESERVED_SECONDS):
        return handle_messages(event, handle_message)
