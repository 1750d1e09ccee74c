"""Replay batches of the jobs stream that a consumer, notify or usage, gave up on.

The dead letter of such a batch holds positions in the stream, not records; the stream keeps the records for
24 hours (Amazon DynamoDB, Streams).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from replicate_proxy.errors import PermanentError, RetryableError
from replicate_proxy.webhooks.ports import StreamRange

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from replicate_proxy.webhooks.model import JobChange
    from replicate_proxy.webhooks.ports import JobStream


class StreamReplayer:
    """Handles the records of a dead letter once more.

    `handle` takes changes and returns the index of the first one to retry, or None. Handling a change twice
    must change nothing.
    """

    def __init__(self, stream: JobStream, handle: Callable[[Sequence[JobChange]], int | None]) -> None:
        self._stream = stream
        self._handle = handle

    def replay(self, dead_letter: Mapping[str, Any]) -> int:
        """Handle the changes of a dead letter and return their number.

        Raises PermanentError for another kind of message or expired records, RetryableError if handling them
        failed again.
        """
        changes = list(self._stream.read_changes(_parse_dead_letter(dead_letter)))
        failed_index = self._handle(changes)
        if failed_index is not None:
            raise RetryableError(f"failed again at change {failed_index} of {len(changes)}")
        return len(changes)


def _parse_dead_letter(dead_letter: Mapping[str, Any]) -> StreamRange:
    """Return the range of a failed batch (AWS Lambda, on-failure destinations)."""
    try:
        batch = dead_letter["DDBStreamBatchInfo"]
        return StreamRange(
            stream_arn=str(batch["streamArn"]),
            shard_id=str(batch["shardId"]),
            first_sequence_number=str(batch["startSequenceNumber"]),
            last_sequence_number=str(batch["endSequenceNumber"]),
        )
    except (TypeError, KeyError) as error:
        raise PermanentError(f"the message is not a failed stream batch: {type(error).__name__}") from error
