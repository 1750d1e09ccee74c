"""Handler of the track function: apply reports about running, failed and canceled predictions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from replicate_proxy.bootstrap.track import build_report_loader, build_tracker
from replicate_proxy.consumer import handle_messages, identify_job
from replicate_proxy.contracts.events import PredictionReport
from replicate_proxy.observability import logger, metrics, tracer

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext


@tracer.capture_method
def handle_message(body: str) -> None:
    report = PredictionReport.from_queue_message(body)
    identify_job(report)
    build_tracker().track_report(build_report_loader().load(report))


@logger.inject_lambda_context(clear_state=True)
@metrics.log_metrics
@tracer.capture_lambda_handler
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    return handle_messages(event, handle_message)
