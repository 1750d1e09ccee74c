"""The operations of DynamoDB Streams."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from tools.simulation.aws.calls import Service, operation
from tools.simulation.aws.errors import RejectedError, validation_error

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tools.simulation.aws.calls import Parameters, Response
    from tools.simulation.aws.dynamodb.stream import Shard, Stream, StreamRecord
    from tools.simulation.aws.dynamodb.table import Table

_MAX_RECORDS = 1000
# A shard iterator expires 15 minutes after it is retrieved (API reference, GetShardIterator).
_ITERATOR_SECONDS = 900


class InMemoryDynamoDbStreams(Service):
    """The streams of the tables, by ARN."""

    name = "dynamodbstreams"

    def __init__(self, now: Callable[[], float], get_tables: Callable[[], Mapping[str, Table]]) -> None:
        self._now = now
        self._get_tables = get_tables
        self._iterators: dict[str, tuple[float, Stream, Shard, int]] = {}
        self._iterator_count = 0

    @operation("StreamArn", "ShardId", "ShardIteratorType", optional=("SequenceNumber",))
    def get_shard_iterator(self, parameters: Parameters) -> Response:
        stream, shard = self._find_shard(parameters["StreamArn"], parameters["ShardId"])
        position = _find_position(stream, shard, parameters)
        return {"ShardIterator": self._new_iterator(stream, shard, position)}

    @operation("ShardIterator", optional=("Limit",))
    def get_records(self, parameters: Parameters) -> Response:
        created_at, stream, shard, position = self._find_iterator(parameters["ShardIterator"])
        if self._now() - created_at > _ITERATOR_SECONDS:
            raise RejectedError("ExpiredIteratorException", "The shard iterator has expired")
        limit = min(parameters.get("Limit", _MAX_RECORDS), _MAX_RECORDS)
        records = [] if stream.has_empty_page(stream.table) else stream.read(shard.id, position, limit)
        position += len(records)
        response: dict[str, Any] = {"Records": [_to_record(record) for record in records]}
        # The last page of a closed shard has no next iterator (API reference, GetRecords).
        if not shard.is_closed or position < shard.end_position:
            response["NextShardIterator"] = self._new_iterator(stream, shard, position)
        return response

    def _find_shard(self, stream_arn: str, shard_id: str) -> tuple[Stream, Shard]:
        for table in self._get_tables().values():
            stream = table.stream
            if stream is not None and stream.arn == stream_arn and shard_id in stream.shards:
                return stream, stream.shards[shard_id]
        raise RejectedError("ResourceNotFoundException", "Requested resource not found")

    def _find_iterator(self, iterator: str) -> tuple[float, Stream, Shard, int]:
        if iterator not in self._iterators:
            raise validation_error("Invalid ShardIterator")
        return self._iterators[iterator]

    def _new_iterator(self, stream: Stream, shard: Shard, position: int) -> str:
        self._iterator_count += 1
        iterator = f"{stream.arn}|1|{self._iterator_count}"
        now = self._now()
        self._iterators = {
            name: entry for name, entry in self._iterators.items() if now - entry[0] <= 2 * _ITERATOR_SECONDS
        }
        self._iterators[iterator] = (now, stream, shard, position)
        return iterator


def _find_position(stream: Stream, shard: Shard, parameters: Parameters) -> int:
    kind = parameters["ShardIteratorType"]
    if kind == "LATEST":
        return shard.end_position
    if kind == "TRIM_HORIZON":
        return stream.find_position(shard, 0)
    if kind not in {"AT_SEQUENCE_NUMBER", "AFTER_SEQUENCE_NUMBER"}:
        raise NotImplementedError(f"the in-memory DynamoDB Streams does not handle ShardIteratorType={kind}")
    if "SequenceNumber" not in parameters:
        raise validation_error(f"Missing SequenceNumber for ShardIteratorType {kind}")
    sequence_number = int(parameters["SequenceNumber"])
    if sequence_number < stream.trimmed_sequence_number(shard):
        raise RejectedError("TrimmedDataAccessException", "The requested data has been trimmed")
    return stream.find_position(shard, sequence_number + (kind == "AFTER_SEQUENCE_NUMBER"))


def _to_record(record: StreamRecord) -> dict[str, Any]:
    """Return the record as boto3 does: with a date, and without the ARN that Lambda adds."""
    change = record["dynamodb"]
    created_at = datetime.fromtimestamp(change["ApproximateCreationDateTime"], UTC)
    return {
        **{name: value for name, value in record.items() if name != "eventSourceARN"},
        "dynamodb": {**change, "ApproximateCreationDateTime": created_at},
    }
