"""The stream of a table: shards of records, and positions in them.

Records of one item are in one shard, in the order of the writes. A shard may be closed; its successor takes
the records that follow (Amazon DynamoDB developer guide, "Change data capture for DynamoDB Streams").
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from zlib import crc32

from tools.simulation.aws.errors import RejectedError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tools.simulation.aws.dynamodb.values import Item, Scalar

type StreamRecord = dict[str, Any]
"""A record as Lambda passes it to a function, with times in seconds."""

# A stream keeps its records for 24 hours.
RETENTION_SECONDS = 24 * 3600
_FIRST_SEQUENCE_NUMBER = 100_000_000_000_000_000_000
_TTL_IDENTITY = {"type": "Service", "principalId": "dynamodb.amazonaws.com"}


@dataclass
class Shard:
    """The records of a shard; `first_position` is the position of the oldest record that is kept."""

    id: str
    parent_id: str | None
    records: list[StreamRecord] = field(default_factory=list)
    first_position: int = 0
    last_trimmed_number: int = 0
    is_closed: bool = False

    @property
    def end_position(self) -> int:
        return self.first_position + len(self.records)


class Stream:
    """The stream of a table, with `NEW_AND_OLD_IMAGES`.

    `has_empty_page` decides whether GetRecords returns no records although there are some: it "might take
    multiple calls to get to a portion of the shard that contains stream records" (API reference, GetRecords).
    """

    def __init__(self, table: str, arn: str, now: Callable[[], float], shard_count: int) -> None:
        self.table = table
        self.arn = arn
        self.has_empty_page: Callable[[str], bool] = lambda _: False
        self._now = now
        self._shards: dict[str, Shard] = {}
        self._open_shards = [self._add_shard(None) for _ in range(shard_count)]
        self._record_count = 0

    @property
    def shards(self) -> Mapping[str, Shard]:
        """All shards by ID, oldest first; a shard must be read after its parent."""
        return self._shards

    def read(self, shard: str, position: int, limit: int) -> list[StreamRecord]:
        """Return up to `limit` records of a shard from a position, which counts its records from 0.

        Raises RejectedError (TrimmedDataAccessException) if the position is older than 24 hours.
        """
        found = self._shards[shard]
        self._trim(found)
        if position < found.first_position:
            raise RejectedError("TrimmedDataAccessException", "The requested data has been trimmed")
        start = position - found.first_position
        return found.records[start : start + limit]

    def close_shard(self, shard: str) -> str:
        """Close an open shard and return the ID of its successor."""
        closed = self._shards[shard]
        index = self._open_shards.index(closed)
        closed.is_closed = True
        self._open_shards[index] = self._add_shard(closed.id)
        return self._open_shards[index].id

    def append(
        self, partition: Scalar, keys: Item, old: Item | None, new: Item | None, *, is_expiry: bool
    ) -> None:
        """Add the record of a write that changed an item."""
        self._record_count += 1
        name = "INSERT" if old is None else "REMOVE" if new is None else "MODIFY"
        change: dict[str, Any] = {
            "ApproximateCreationDateTime": float(int(self._now())),
            "Keys": keys,
            "SequenceNumber": str(_FIRST_SEQUENCE_NUMBER + self._record_count),
            "StreamViewType": "NEW_AND_OLD_IMAGES",
        }
        if new is not None:
            change["NewImage"] = new
        if old is not None:
            change["OldImage"] = old
        record: StreamRecord = {
            "eventID": f"{self._record_count:032x}",
            "eventName": name,
            "eventVersion": "1.1",
            "eventSource": "aws:dynamodb",
            "awsRegion": "us-east-1",
            "dynamodb": change,
            "eventSourceARN": self.arn,
        }
        if is_expiry:
            record["userIdentity"] = _TTL_IDENTITY
        digest = crc32(
            partition if isinstance(partition, bytes) else str(partition).encode("utf-8", "surrogatepass")
        )
        self._open_shards[digest % len(self._open_shards)].records.append(record)

    def find_position(self, shard: Shard, sequence_number: int) -> int:
        """Return the position of the first record whose number is at least the given one."""
        self._trim(shard)
        for offset, record in enumerate(shard.records):
            if int(record["dynamodb"]["SequenceNumber"]) >= sequence_number:
                return shard.first_position + offset
        return shard.end_position

    def trimmed_sequence_number(self, shard: Shard) -> int:
        """Return the lowest sequence number that is not older than 24 hours."""
        self._trim(shard)
        return shard.last_trimmed_number + 1

    def _trim(self, shard: Shard) -> None:
        oldest = self._now() - RETENTION_SECONDS
        count = 0
        for record in shard.records:
            if record["dynamodb"]["ApproximateCreationDateTime"] >= oldest:
                break
            count += 1
        if count:
            shard.last_trimmed_number = int(shard.records[count - 1]["dynamodb"]["SequenceNumber"])
            del shard.records[:count]
            shard.first_position += count

    def _add_shard(self, parent_id: str | None) -> Shard:
        shard = Shard(f"shardId-{len(self._shards):020d}-{len(self._shards):08x}", parent_id)
        self._shards[shard.id] = shard
        return shard
