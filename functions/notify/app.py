"""Handler of the notify function: turn changes of jobs into deliveries, bus events and topic messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from replicate_proxy.bootstrap.notify import (
    build_notifier,
    build_stream_replayer,
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

    Returns the first record that failed. Lambda retries the batch from there, so that the order is preserved.
    """
    if "DDBStreamBatchInfo" in event:
        replayed = build_stream_replayer().replay(event)
        logger.info("stream batch replayed", changes=replayed)
        return {"replayed": replayed}
    records, changes = [], []
    for record in event["Records"]:
        change = job_change_from_stream_record(record)
        if change is not None:
            records.append(record)
            changes.append(change)
    failed_index = build_notifier().notify(changes)
    logger.info("job changes handled", records=len(event["Records"]), failed_index=failed_index)
    if failed_index is None:
        return {"batchItemFailures": []}
    return {"batchItemFailures": [{"itemIdentifier": records[failed_index]["dynamodb"]["SequenceNumber"]}]}
