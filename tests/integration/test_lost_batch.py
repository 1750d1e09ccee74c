"""A batch of the jobs table's stream that notify gave up on is told after all, once its letter goes back."""

import json
from collections.abc import Iterator
from typing import Any

from tests.integration.api import ApiClient
from tests.integration.receiver import run_receiver
from tools.cli.admin_client import AdminClient
from tools.cli.redrive import Redriver
from tools.local.stack import Stack


def test_redriven_letter_tells_the_changes_that_lie_in_the_stream(stack: Stack, api: ApiClient) -> None:
    job = api.run("local/lab", {"output": "told late"})
    with run_receiver() as application:
        # Registered after the job's end, it hears of it only if the change is read from the stream again.
        made = api.call("POST", "/v1/webhooks/endpoints", {"url": application.url, "events": ["completed"]})
        assert made.status_code == 201, made.text
        stack.get_client("sqs").send_message(
            QueueUrl=stack.outputs["NotifyStreamDeadLetterQueueUrl"],
            MessageBody=json.dumps(_letter(stack, job["id"])),
        )
        redrive = Redriver(AdminClient(stack.api_url, stack.admin_key))
        assert redrive.redrive_queue("notify-stream", rate_per_second=10) == 1
        [call] = application.wait_for(lambda calls: len(calls) == 1, "webhook of the end")

    assert (call.prediction["id"], call.prediction["status"]) == (job["id"], "succeeded")
    assert redrive.count_messages()["notify-stream"] == 0


def _letter(stack: Stack, job_id: str) -> dict[str, Any]:
    """As Lambda writes it (AWS Lambda, on-failure destinations of stream sources)."""
    notify = stack.get_client("lambda").get_function(FunctionName=stack.function_names["notify"])[
        "Configuration"
    ]
    streams = stack.get_client("dynamodbstreams")
    [stream] = streams.list_streams(TableName=stack.outputs["JobsTableName"])["Streams"]
    shards = streams.describe_stream(StreamArn=stream["StreamArn"])["StreamDescription"]["Shards"]
    found = [
        (shard["ShardId"], record["dynamodb"]["SequenceNumber"])
        for shard in shards
        for record in _records(streams, stream["StreamArn"], shard["ShardId"])
        if record["dynamodb"].get("NewImage", {}).get("id", {}).get("S") == job_id
    ]
    return {
        "requestContext": {"functionArn": notify["FunctionArn"], "condition": "RetryAttemptsExhausted"},
        "DDBStreamBatchInfo": {
            "shardId": found[0][0],
            "startSequenceNumber": found[0][1],
            "endSequenceNumber": found[-1][1],
            "batchSize": len(found),
            "streamArn": stream["StreamArn"],
        },
    }


def _records(streams: Any, arn: str, shard: str) -> Iterator[dict[str, Any]]:
    """All of a shard, as far as it goes now."""
    position = {"StreamArn": arn, "ShardId": shard, "ShardIteratorType": "TRIM_HORIZON"}
    iterator = streams.get_shard_iterator(**position)["ShardIterator"]
    while iterator:
        page = streams.get_records(ShardIterator=iterator)
        yield from page["Records"]
        iterator = page.get("NextShardIterator") if page["Records"] else None
