"""Handler of the harvest function: store the output files of succeeded predictions and finish their jobs."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType, process_partial_response

from replicate_proxy.bootstrap.environment import clock
from replicate_proxy.bootstrap.harvest import build_harvester, build_report_loader
from replicate_proxy.consumer import identify_job, log_message_outcome
from replicate_proxy.contracts.events import PredictionReport
from replicate_proxy.observability import logger, metrics, tracer

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.batch.types import PartialItemFailureResponse
    from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord
    from aws_lambda_powertools.utilities.typing import LambdaContext

processor = BatchProcessor(event_type=EventType.SQS, raise_on_entire_batch_failure=False)


@tracer.capture_method
def handle_record(record: SQSRecord, lambda_context: LambdaContext) -> None:
    with log_message_outcome(record.message_id, record.attributes.approximate_receive_count):
        report = PredictionReport.from_queue_message(record.body)
        remaining_time = timedelta(milliseconds=lambda_context.get_remaining_time_in_millis())
        identify_job(report)
        report = build_report_loader().load(report)
        build_harvester().harvest_job(report, clock.now() + remaining_time)


@logger.inject_lambda_context(clear_state=True)
@metrics.log_metrics
@tracer.capture_lambda_handler
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> PartialItemFailureResponse:
    return process_partial_response(
        event=event, record_handler=handle_record, processor=processor, context=context
    )
