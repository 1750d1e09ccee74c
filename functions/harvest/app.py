"""Handler of the harvest function: store the output files of succeeded predictions and finish their jobs."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from replicate_proxy.bootstrap.environment import clock
from replicate_proxy.bootstrap.harvest import build_harvester, build_report_loader
from replicate_proxy.consumer import handle_messages, identify_job
from replicate_proxy.contracts.events import PredictionReport
from replicate_proxy.observability import logger, metrics, tracer

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext


@tracer.capture_method
def handle_message(body: str, context: LambdaContext) -> None:
    report = PredictionReport.from_queue_message(body)
    remaining_time = timedelta(milliseconds=context.get_remaining_time_in_millis())
    identify_job(report)
    report = build_report_loader().load(report)
    build_harvester().harvest_job(report, clock.now() + remaining_time)


@logger.inject_lambda_context(clear_state=True)
@metrics.log_metrics
@tracer.capture_lambda_handler
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    return handle_messages(event, partial(handle_message, context=context))
