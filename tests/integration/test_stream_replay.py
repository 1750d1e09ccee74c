"""A batch of the jobs table's stream that notify failed to process is processed after its redrive."""

import json
from collections.abc import Iterator
from typing import Any

from proxyctl.client import AdminClient
from proxyctl.redrive import Redriver
from tests.integration.api_client import ApiClient
from tests.integration.receiver import run_receiver
from tools.local.stack import Stack


def test_redriven_dead_letter_replays_the_records_of_the_stream(stack: Stack, api: ApiClient) -> None:
    job = api.run("local/lab", {"output": "replayed"})
    with run_receiver() as receiver:
        # Created after the end of the job, the endpoint gets the event only if the stream is read again.
        endpoint = {"url": receiver.url, "events": ["completed"]}
        response = api.call("POST", "/v1/webhooks/endpoints", endpoint)
        assert response.status_code == 201, response.text
        stack.get_client("sqs").send_message(
            QueueUrl=stack.outputs["NotifyStreamDeadLetterQueueUrl"],
            MessageBody=json.dumps(_build_dead_letter(stack, job["id"])),
        )
        redriver = Redriver(AdminClient(stack.api_url, stack.admin_key))
        assert redriver.redrive_queue("notify-stream", rate_per_second=10) == 1
        [request] = receiver.wait_for(lambda requests: len(requests) == 1, "the webhook")

    assert (request.prediction["id"], request.prediction["status"]) == (job["id"], "succeeded")
    assert redriver.count_messages()["notify-stream"] == 0


def _build_dead_letter(stack: Stack, job_id: str) -> dict[str, Any]:
    """Return a dead letter as Lambda sends it (AWS Lambda, on-failure destinations of stream sources)."""
    function_name = stack.function_names["notify"]
    function = stack.get_client("lambda").get_function(FunctionName=function_name)["Configuration"]
    streams = stack.get_client("dynamodbstreams")
    [stream] = streams.list_streams(TableName=stack.outputs["JobsTableName"])["Streams"]
    shards = streams.describe_stream(StreamArn=stream["StreamArn"])["StreamDescription"]["Shards"]
    positions = [
        (shard["ShardId"], record["dynamodb"]["SequenceNumber"])
        for shard in shards
        for record in _read_shard(streams, stream["StreamArn"], shard["ShardId"])
        if record["dynamodb"].get("NewImage", {}).get("id", {}).get("S") == job_id
    ]
    return {
        "requestContext": {"functionArn": function["FunctionArn"], "condition": "RetryAttemptsExhausted"},
        "DDBStreamBatchInfo": {
            "shardId": positions[0][0],
            "startSequenceNumber": positions[0][1],
            "endSequenceNumber": positions[-1][1],
            "batchSize": len(positions),
            "streamArn": stream["StreamArn"],
        },
    }


def _read_shard(streams: Any, stream_arn: str, shard_id: str) -> Iterator[dict[str, Any]]:
    """Yield the records that are in the shard now."""
    position = {"StreamArn": stream_arn, "ShardId": shard_id, "ShardIteratorType": "TRIM_HORIZON"}
    iterator = streams.get_shard_iterator(**position)["ShardIterator"]
    while iterator:
        page = streams.get_records(ShardIterator=iterator)
        yield from page["Records"]
        iterator = page.get("NextShardIterator") if page["Records"] else None
