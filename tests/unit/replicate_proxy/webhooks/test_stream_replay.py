"""Replay of stream batches from their dead letters."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, cast

import pytest

from replicate_proxy.aws.dynamodb import to_item
from replicate_proxy.aws.job_records import record_from_job
from replicate_proxy.aws.job_stream import DynamoJobStream
from replicate_proxy.errors import PermanentError, RetryableError
from replicate_proxy.webhooks.stream_replay import StreamReplayer
from tests.support.aws import make_client_error
from tests.support.clock import FakeClock
from tests.support.webhook_builders import as_processing, as_succeeded, make_job

if TYPE_CHECKING:
    from replicate_proxy.jobs.model import Job
    from tests.support.delivery_pipeline import DeliveryPipeline

STREAM_ARN = "arn:stream"
SHARD_ID = "shard-1"
PAGE_SIZE = 2
MAX_SECONDS = 5


class FakeStreamsClient:
    """boto3's `dynamodbstreams` client over one shard, which holds the saves of one job.

    `empty_pages` come before each page of records, as on AWS, where parts of a shard may hold none.
    """

    def __init__(self, *saves: Job) -> None:
        self.empty_pages: float = 0
        self.is_closed = False
        self.calls = 0
        self._empty_pages_left: float = 0
        old_records: list[Job | None] = [None, *saves]
        self.records = [build_stream_record(old, new) for old, new in zip(old_records, saves, strict=False)]

    def get_shard_iterator(self, **options: str) -> Any:
        if (options["StreamArn"], options["ShardId"]) != (STREAM_ARN, SHARD_ID):
            raise make_client_error("ResourceNotFoundException")
        assert options["ShardIteratorType"] == "AT_SEQUENCE_NUMBER"
        sequence_numbers = [record["dynamodb"]["SequenceNumber"] for record in self.records]
        self._empty_pages_left = self.empty_pages
        return {"ShardIterator": str(sequence_numbers.index(options["SequenceNumber"]))}

    def get_records(self, **options: str) -> Any:
        self.calls += 1
        start = int(options["ShardIterator"])
        if self._empty_pages_left > 0:
            self._empty_pages_left -= 1
            return {"Records": [], "NextShardIterator": str(start)}
        self._empty_pages_left = self.empty_pages
        end = start + PAGE_SIZE
        page = {"Records": self.records[start:end]}
        return page if self.is_closed and end >= len(self.records) else page | {"NextShardIterator": str(end)}

    def build_dead_letter(self, first: int, last: int, **changes: Any) -> dict[str, Any]:
        """Return what Lambda writes for a failed batch of the records from `first` to `last`."""
        batch = {
            "shardId": SHARD_ID,
            "startSequenceNumber": self.records[first]["dynamodb"]["SequenceNumber"],
            "endSequenceNumber": self.records[last]["dynamodb"]["SequenceNumber"],
            "batchSize": last - first + 1,
            "streamArn": STREAM_ARN,
        }
        return {"requestContext": {}, "DDBStreamBatchInfo": batch | changes}


def build_stream_record(old: Job | None, new: Job) -> dict[str, Any]:
    stream_record = {
        "Keys": to_item({"pk": f"JOB#acme#{new.id}", "sk": "JOB"}),
        "NewImage": to_item(record_from_job(new)),
        # One digit longer than the one before: as text the numbers are not in order.
        "SequenceNumber": str(10**new.revision),
    }
    if old is not None:
        stream_record["OldImage"] = to_item(record_from_job(old))
    return {"dynamodb": stream_record}


@pytest.fixture
def client() -> FakeStreamsClient:
    job = make_job()
    running = as_processing(job)
    return FakeStreamsClient(job, running, as_succeeded(running))


@pytest.fixture
def replayer(client: FakeStreamsClient, pipeline: DeliveryPipeline) -> StreamReplayer:
    clock = FakeClock()
    stream = DynamoJobStream(cast(Any, client), clock=clock, sleep=clock.sleep, max_seconds=MAX_SECONDS)
    return StreamReplayer(stream, pipeline.notifier.notify)


def test_replay_delivers_the_events_of_the_batch(
    client: FakeStreamsClient, replayer: StreamReplayer, pipeline: DeliveryPipeline
) -> None:
    assert replayer.replay(client.build_dead_letter(2, 2)) == 1
    pipeline.run_for()

    assert [request.event for request in pipeline.receiver.accepted] == ["output", "completed"]


def test_replay_sends_nothing_again(
    client: FakeStreamsClient, replayer: StreamReplayer, pipeline: DeliveryPipeline
) -> None:
    replayer.replay(client.build_dead_letter(2, 2))
    pipeline.run_for()

    assert replayer.replay(client.build_dead_letter(0, 2)) == 3
    pipeline.run_for(3600)

    assert len(pipeline.receiver.received) == 2


def test_replay_reads_on_after_empty_pages(client: FakeStreamsClient, replayer: StreamReplayer) -> None:
    client.empty_pages = 3

    assert replayer.replay(client.build_dead_letter(0, 2)) == 3


def test_replay_ends_with_a_closed_shard(client: FakeStreamsClient, replayer: StreamReplayer) -> None:
    client.is_closed = True
    dead_letter = client.build_dead_letter(0, 2, endSequenceNumber=str(10**9))

    assert replayer.replay(dead_letter) == 3


def test_replay_reads_nothing_beyond_the_range(client: FakeStreamsClient, replayer: StreamReplayer) -> None:
    assert replayer.replay(client.build_dead_letter(0, 1)) == 2
    assert client.calls == 1


def test_replay_raises_retryable_error_when_the_range_is_not_read_in_time(
    client: FakeStreamsClient, replayer: StreamReplayer
) -> None:
    client.empty_pages = math.inf
    with pytest.raises(RetryableError, match="not read in time"):
        replayer.replay(client.build_dead_letter(0, 2))


def test_replay_raises_retryable_error_when_notify_fails_again(
    client: FakeStreamsClient, replayer: StreamReplayer, pipeline: DeliveryPipeline
) -> None:
    pipeline.queue.is_broken = True
    with pytest.raises(RetryableError):
        replayer.replay(client.build_dead_letter(0, 2))


@pytest.mark.parametrize("message", [{}, {"DDBStreamBatchInfo": 3}, {"DDBStreamBatchInfo": {}}])
def test_replay_raises_permanent_error_for_other_messages(
    replayer: StreamReplayer, message: dict[str, Any]
) -> None:
    with pytest.raises(PermanentError):
        replayer.replay(message)


def test_replay_raises_permanent_error_when_stream_does_not_exist(
    client: FakeStreamsClient, replayer: StreamReplayer
) -> None:
    with pytest.raises(PermanentError, match="ResourceNotFound"):
        replayer.replay(client.build_dead_letter(0, 0, streamArn="arn:another"))
