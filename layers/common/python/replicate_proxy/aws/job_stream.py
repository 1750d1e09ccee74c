"""The stream of the jobs table: its records as changes of jobs, and reading a range of it again."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from replicate_proxy.aws.dynamodb import from_item
from replicate_proxy.aws.errors import translate_aws_errors
from replicate_proxy.aws.job_records import DELETED, job_from_record
from replicate_proxy.errors import RetryableError
from replicate_proxy.webhooks.model import JobChange

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from types_boto3_dynamodbstreams import DynamoDBStreamsClient

    from replicate_proxy.jobs.model import Job
    from replicate_proxy.ports import Clock
    from replicate_proxy.webhooks.ports import StreamRange


# A stream keeps its records for 24 hours (Amazon DynamoDB, Streams).
_EXPIRED = frozenset({"TrimmedDataAccessException", "ResourceNotFoundException"})
_EMPTY_PAGE_DELAY_SECONDS = 0.25


def job_change_from_stream_record(record: Mapping[str, Any]) -> JobChange | None:
    """Return the change that a record reports (Amazon DynamoDB, StreamRecord).

    Returns None for the deletion of a job or item, and for an item that is not a job.
    """
    stream_record = record["dynamodb"]
    new_image = stream_record.get("NewImage")
    if new_image is None or stream_record["Keys"]["sk"].get("S") != "JOB":
        return None
    if new_image.get("status", {}).get("S") == DELETED:
        return None
    old_image = stream_record.get("OldImage")
    return JobChange(_job_from_image(old_image) if old_image else None, _job_from_image(new_image))


class DynamoJobStream:
    """The JobStream port. One range is read for at most `max_seconds`."""

    def __init__(
        self,
        client: DynamoDBStreamsClient,
        *,
        clock: Clock,
        sleep: Callable[[float], None],
        max_seconds: float,
    ) -> None:
        self._client = client
        self._clock = clock
        self._sleep = sleep
        self._max_duration = timedelta(seconds=max_seconds)

    def read_changes(self, stream_range: StreamRange) -> Iterator[JobChange]:
        for record in self._read_records(stream_range):
            change = job_change_from_stream_record(record)
            if change is not None:
                yield change

    def _read_records(self, stream_range: StreamRange) -> Iterator[Mapping[str, Any]]:
        """Yield the records until the range is read or its shard is closed.

        An empty page does not end a shard: only a response without NextShardIterator does (Amazon DynamoDB
        API Reference, "GetRecords").
        """
        deadline = self._clock.now() + self._max_duration
        # Sequence numbers are decimal texts of different lengths that grow within a shard.
        last_sequence_number = int(stream_range.last_sequence_number)
        iterator: str | None = self._find_iterator(stream_range)
        while iterator:
            with translate_aws_errors("read stream", permanent=_EXPIRED):
                response = self._client.get_records(ShardIterator=iterator)
            for record in response["Records"]:
                sequence_number = int(record["dynamodb"]["SequenceNumber"])
                if sequence_number <= last_sequence_number:
                    yield record
                if sequence_number >= last_sequence_number:
                    return
            iterator = response.get("NextShardIterator")
            if iterator and not response["Records"]:
                if self._clock.now() >= deadline:
                    raise RetryableError("the range of the stream was not read in time")
                self._sleep(_EMPTY_PAGE_DELAY_SECONDS)

    def _find_iterator(self, stream_range: StreamRange) -> str:
        with translate_aws_errors("read stream", permanent=_EXPIRED):
            return self._client.get_shard_iterator(
                StreamArn=stream_range.stream_arn,
                ShardId=stream_range.shard_id,
                ShardIteratorType="AT_SEQUENCE_NUMBER",
                SequenceNumber=stream_range.first_sequence_number,
            )["ShardIterator"]


def _job_from_image(image: Mapping[str, Any]) -> Job:
    return job_from_record(from_item(image))
