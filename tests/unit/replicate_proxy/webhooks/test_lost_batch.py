"""Dead letters of the stream, told after all."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

from replicate_proxy.aws.dynamodb import to_item
from replicate_proxy.aws.job_records import record_from_job
from replicate_proxy.aws.job_stream import DynamoJobStream
from replicate_proxy.errors import PermanentError, RetryableError
from replicate_proxy.webhooks.stream_replay import StreamReplayer
from tests.support.webhook_builders import as_processing, as_succeeded, make_job

if TYPE_CHECKING:
    from replicate_proxy.jobs.model import Job
    from tests.support.webhook_simulation import WebhookSimulation


class FakeStreams:
    """The two calls of DynamoDB Streams that are made, over one shard, two records a page."""

    def __init__(self, *saves: Job) -> None:
        olds: list[Job | None] = [None, *saves]
        self.records = [_record(old, new) for old, new in zip(olds, saves, strict=False)]

    def get_shard_iterator(self, **given: str) -> Any:
        if (given["StreamArn"], given["ShardId"]) != ("arn:stream", "shard-1"):
            raise ClientError({"Error": {"Code": "ResourceNotFoundException"}}, "GetShardIterator")
        assert given["ShardIteratorType"] == "AT_SEQUENCE_NUMBER"
        numbers = [record["dynamodb"]["SequenceNumber"] for record in self.records]
        return {"ShardIterator": str(numbers.index(given["SequenceNumber"]))}

    def get_records(self, **given: str) -> Any:
        start = int(given["ShardIterator"])
        return {"Records": self.records[start : start + 2], "NextShardIterator": str(start + 2)}

    def letter(self, first: int, last: int, **changes: Any) -> str:
        """As Lambda writes it for the records from `first` to `last`."""
        batch = {
            "shardId": "shard-1",
            "startSequenceNumber": self.records[first]["dynamodb"]["SequenceNumber"],
            "endSequenceNumber": self.records[last]["dynamodb"]["SequenceNumber"],
            "batchSize": last - first + 1,
            "streamArn": "arn:stream",
        }
        return json.dumps({"requestContext": {}, "DDBStreamBatchInfo": batch | changes})


def _record(old: Job | None, new: Job) -> dict[str, Any]:
    data = {
        "Keys": to_item({"pk": f"JOB#acme#{new.id}", "sk": "JOB"}),
        "NewImage": to_item(record_from_job(new)),
        # Longer than the one before: such numbers are compared as numbers.
        "SequenceNumber": str(10**new.revision),
    }
    return {"dynamodb": data if old is None else data | {"OldImage": to_item(record_from_job(old))}}


@pytest.fixture
def streams() -> FakeStreams:
    job = make_job()
    running = as_processing(job)
    return FakeStreams(job, running, as_succeeded(running))


def test_what_was_lost_is_told(streams: FakeStreams, world: WebhookSimulation) -> None:
    batches = StreamReplayer(stream=DynamoJobStream(streams), notifier=world.notifier)

    assert batches.replay(streams.letter(2, 2)) == 1
    world.run_for()

    assert [request.event for request in world.receiver.accepted] == ["output", "completed"]


def test_what_was_told_before_is_not_told_again(streams: FakeStreams, world: WebhookSimulation) -> None:
    batches = StreamReplayer(stream=DynamoJobStream(streams), notifier=world.notifier)
    batches.replay(streams.letter(2, 2))
    world.run_for()

    assert batches.replay(streams.letter(0, 2)) == 3
    world.run_for(3600)

    assert len(world.receiver.received) == 2


def test_telling_that_fails_again_leaves_the_letter(streams: FakeStreams, world: WebhookSimulation) -> None:
    world.queue.is_broken = True
    with pytest.raises(RetryableError):
        StreamReplayer(stream=DynamoJobStream(streams), notifier=world.notifier).replay(streams.letter(0, 2))


@pytest.mark.parametrize(
    "letter", ["", "{}", "[]", '{"DDBStreamBatchInfo": 3}', '{"DDBStreamBatchInfo": {}}']
)
def test_other_letters_are_refused(streams: FakeStreams, world: WebhookSimulation, letter: str) -> None:
    with pytest.raises(PermanentError):
        StreamReplayer(stream=DynamoJobStream(streams), notifier=world.notifier).replay(letter)


def test_a_stream_that_is_gone_is_said_to_be(streams: FakeStreams, world: WebhookSimulation) -> None:
    letter = streams.letter(0, 0, streamArn="arn:another")
    with pytest.raises(PermanentError, match="ResourceNotFound"):
        StreamReplayer(stream=DynamoJobStream(streams), notifier=world.notifier).replay(letter)
