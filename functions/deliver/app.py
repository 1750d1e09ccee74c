"""Handler of the deliver function: send signed webhooks to applications and record every attempt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType, process_partial_response

from replicate_proxy.bootstrap.deliver import build_deliverer
from replicate_proxy.consumer import identify_job, log_message_outcome
from replicate_proxy.observability import logger, metrics, tracer
from replicate_proxy.webhooks.commands import DeliverCommand

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.batch.types import PartialItemFailureResponse
    from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord
    from aws_lambda_powertools.utilities.typing import LambdaContext

processor = BatchProcessor(event_type=EventType.SQS, raise_on_entire_batch_failure=False)


@tracer.capture_method
def handle_record(record: SQSRecord) -> None:
    with log_message_outcome(record.message_id, record.attributes.approximate_receive_count):
        command = DeliverCommand.from_json(record.body)
        identify_job(command)
        build_deliverer().deliver(command)


@logger.inject_lambda_context(clear_state=True)
@metrics.log_metrics
@tracer.capture_lambda_handler
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> PartialItemFailureResponse:
    return process_partial_response(
        event=event, record_handler=handle_record, processor=processor, context=context
    )
