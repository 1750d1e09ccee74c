"""Handler of the dispatch function: create predictions of queued jobs on Replicate, and cancel them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType, process_partial_response

from replicate_proxy.bootstrap.dispatch import build_dispatcher
from replicate_proxy.consumer import identify_job, log_message_outcome
from replicate_proxy.contracts.commands import DispatchCommand
from replicate_proxy.observability import logger, metrics, tracer
from replicate_proxy.replicate_api.retry import retry_budget

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.batch.types import PartialItemFailureResponse
    from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord
    from aws_lambda_powertools.utilities.typing import LambdaContext

# Time at the end of an invocation to record the outcome of a call.
_RESERVED_SECONDS = 5

processor = BatchProcessor(event_type=EventType.SQS, raise_on_entire_batch_failure=False)


@tracer.capture_method
def handle_record(record: SQSRecord) -> None:
    with log_message_outcome(record.message_id, record.attributes.approximate_receive_count):
        command = DispatchCommand.from_json(record.body)
        identify_job(command)
        build_dispatcher().handle_command(command)


@logger.inject_lambda_context(clear_state=True)
@metrics.log_metrics
@tracer.capture_lambda_handler
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> PartialItemFailureResponse:
    with retry_budget(context.get_remaining_time_in_millis() / 1000 - _RESERVED_SECONDS):
        return process_partial_response(
            event=event, record_handler=handle_record, processor=processor, context=context
        )
