"""The stream of the jobs table, for the functions that consume it: notify and usage."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from replicate_proxy.aws.clients import get_client
from replicate_proxy.aws.job_stream import DynamoJobStream, job_change_from_stream_record
from replicate_proxy.bootstrap.environment import clock
from replicate_proxy.observability import logger
from replicate_proxy.webhooks.stream_replay import StreamReplayer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from replicate_proxy.webhooks.model import JobChange

# Of the 10 s that the admin function waits for a response (aws/clients.py); the rest is for the changes.
_MAX_REPLAY_SECONDS = 5


def handle_stream_event(
    event: dict[str, Any], handle: Callable[[Sequence[JobChange]], int | None]
) -> dict[str, Any]:
    """Handle a batch of stream records, or replay one from its dead letter.

    `handle` takes changes and returns the index of the first one to retry, or None. Returns the first record
    that failed: Lambda retries the batch from there, so that the order is preserved.
    """
    if "DDBStreamBatchInfo" in event:
        stream = DynamoJobStream(
            get_client("dynamodbstreams"), clock=clock, sleep=time.sleep, max_seconds=_MAX_REPLAY_SECONDS
        )
        replayed = StreamReplayer(stream, handle).replay(event)
        logger.info("stream batch replayed", changes=replayed)
        return {"replayed": replayed}
    records, changes = [], []
    for record in event["Records"]:
        change = job_change_from_stream_record(record)
        if change is not None:
            records.append(record)
            changes.append(change)
    failed_index = handle(changes)
    if failed_index is None:
        return {"batchItemFailures": []}
    logger.warning("stream records will be read again", records=len(records), failed_index=failed_index)
    return {"batchItemFailures": [{"itemIdentifier": records[failed_index]["dynamodb"]["SequenceNumber"]}]}
