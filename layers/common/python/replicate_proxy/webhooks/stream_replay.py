"""Records of the jobs table's stream as changes of jobs. Pure.

Batches of the stream that notify gave up on: dead letters hold positions, the stream the records.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from replicate_proxy.aws.dynamodb import from_item
from replicate_proxy.aws.job_records import job_from_record
from replicate_proxy.errors import PermanentError, RetryableError
from replicate_proxy.webhooks.notifier import JobChange

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from replicate_proxy.jobs.model import Job
    from replicate_proxy.webhooks.notifier import Notifier


def change_of(record: Mapping[str, Any]) -> JobChange | None:
    """The change behind a record (Amazon DynamoDB, StreamRecord); None for anything but a job's save."""
    data = record["dynamodb"]
    new = data.get("NewImage")
    if new is None or data["Keys"]["sk"].get("S") != "JOB":
        return None
    return JobChange(_job(data.get("OldImage")), job_from_record(from_item(new)))


def _job(image: Mapping[str, Any] | None) -> Job | None:
    return job_from_record(from_item(image)) if image else None


# A stream keeps its records for 24 hours (Amazon DynamoDB, Streams).
_GONE = frozenset({"TrimmedDataAccessException", "ResourceNotFoundException"})


class LostBatches:
    """Reads a dead letter's records again and tells them; what had been told before is not told twice."""

    def __init__(self, *, streams: Any, notifier: Notifier) -> None:
        self._streams = streams
        self._notifier = notifier

    def retell(self, letter: str) -> int:
        """The number of changes told, from the body of a dead letter (AWS Lambda, on-failure destinations).

        Raises PermanentError for anything that is no such letter or is older than the stream, RetryableError
        where telling failed again.
        """
        try:
            batch = json.loads(letter)["DDBStreamBatchInfo"]
            first, last = str(batch["startSequenceNumber"]), str(batch["endSequenceNumber"])
            position = {"StreamArn": str(batch["streamArn"]), "ShardId": str(batch["shardId"])}
        except (ValueError, TypeError, KeyError) as error:
            raise PermanentError(f"not a lost batch: {type(error).__name__}") from error
        changes = [change for record in self._records(position, first, last) if (change := change_of(record))]
        failed = self._notifier.notify(changes)
        if failed is not None:
            raise RetryableError(f"change {failed} of {len(changes)} could not be told")
        return len(changes)

    def _records(self, position: Mapping[str, str], first: str, last: str) -> Iterator[Mapping[str, Any]]:
        """The records from the first sequence number to the last; both are decimal and grow."""
        iterator = self._ask(
            "get_shard_iterator",
            **position,
            ShardIteratorType="AT_SEQUENCE_NUMBER",
            SequenceNumber=first,
        )["ShardIterator"]
        while iterator:
            reply = self._ask("get_records", ShardIterator=iterator)
            for record in reply["Records"]:
                if int(record["dynamodb"]["SequenceNumber"]) > int(last):
                    return
                yield record
            if not reply["Records"]:
                return
            iterator = reply.get("NextShardIterator")

    def _ask(self, operation: str, **options: Any) -> Any:
        try:
            return getattr(self._streams, operation)(**options)
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "")
            kind = PermanentError if code in _GONE else RetryableError
            raise kind(f"read stream: {code}") from error
        except BotoCoreError as error:
            raise RetryableError(f"read stream: {type(error).__name__}") from error
