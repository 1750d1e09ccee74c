"""Dead letters of functions that read the stream of the jobs table."""

from collections.abc import Iterator
from typing import Any

from tools.local.stack import Stack


def build_stream_dead_letter(stack: Stack, job_id: str) -> dict[str, Any]:
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
