"""Turns changes of jobs, from the table's stream, into deliveries, bus events and topic messages."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from replicate_proxy.bootstrap.notify import lost_batches, notifier
from replicate_proxy.observability import logger, metrics, tracer
from replicate_proxy.webhooks.stream_replay import change_of

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext


@logger.inject_lambda_context(clear_state=True)
@metrics.log_metrics
@tracer.capture_lambda_handler
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Stops at the first record that failed and names it: a stream is seen again from there, in order.

    Called with a dead letter of the stream, it tells the changes that the letter is about.
    """
    if "DDBStreamBatchInfo" in event:
        told = lost_batches().retell(json.dumps(event))
        logger.info("lost batch told", changes=told)
        return {"told": told}
    found = [(record, change_of(record)) for record in event["Records"]]
    changes = [(record, change) for record, change in found if change is not None]
    failed = notifier().notify([change for _, change in changes])
    logger.info("changes of jobs told", records=len(found), failed_at=failed)
    if failed is None:
        return {"batchItemFailures": []}
    return {"batchItemFailures": [{"itemIdentifier": changes[failed][0]["dynamodb"]["SequenceNumber"]}]}
