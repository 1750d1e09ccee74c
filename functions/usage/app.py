"""Handler of the usage function: count jobs that ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from replicate_proxy.bootstrap.usage import (
    build_usage_counter,
    build_usage_replayer,
    job_change_from_stream_record,
)
from replicate_proxy.observability import logger, metrics, tracer

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext


@logger.inject_lambda_context(clear_state=True)
@metrics.log_metrics
@tracer.capture_lambda_handler
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Handle a batch of stream records, or replay one from its dead letter.

    Returns the first record that failed. Lambda retries the batch from there.
    """
    if "DDBStreamBatchInfo" in event:
        replayed = build_usage_replayer().replay(event)
        logger.info("stream batch replayed", changes=replayed)
        return {"replayed": replayed}
    changes = [(record, job_change_from_stream_record(record)) for record in event["Records"]]
    counted = [(record, change) for record, change in changes if change is not None]
    failed_index = build_usage_counter().count([change for _, change in counted])
    logger.info("usage counted", records=len(event["Records"]), failed_index=failed_index)
    if failed_index is None:
        return {"batchItemFailures": []}
    record, _ = counted[failed_index]
    return {"batchItemFailures": [{"itemIdentifier": record["dynamodb"]["SequenceNumber"]}]}
