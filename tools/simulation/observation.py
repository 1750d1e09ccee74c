"""Access to the in-memory AWS from outside the system: what an omniscient observer sees and event sources do.

None of it passes the gate: it takes no time and never fails.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from replicate_proxy.aws.dynamodb import from_item
from tools.simulation.aws.sqs import get_queue_url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from tools.simulation.aws import InMemoryAws

type Item = Mapping[str, Any]
type OnWrite = Callable[[str, Item | None, Item | None], None]


def observe_writes(aws: InMemoryAws, on_write: OnWrite) -> None:
    """Call `on_write(table, old, new)` after every write of an item, however it came about."""
    for name, table in aws.dynamodb.tables.items():
        write = table.write

        def observed(key: Any, new: Any, *, name: str = name, write: Any = write, **options: Any) -> None:
            old = aws.dynamodb.tables[name].items.get(key)
            write(key, new, **options)
            on_write(name, old.item if old else None, new.item if new else None)

        vars(table)["write"] = observed


def observe_objects(
    aws: InMemoryAws, bucket: str, on_put: Callable[[str, bytes | None, bytes], None]
) -> None:
    """Call `on_put(key, old, new)` after every write of an object."""
    stored_bucket = aws.s3._buckets[bucket]  # noqa: SLF001 - the observer is no part of the service
    put = stored_bucket.put

    def observed(key: str, stored: Any) -> None:
        old = stored_bucket.objects.get(key)
        put(key, stored)
        on_put(key, old.body if old else None, stored.body)

    vars(stored_bucket)["put"] = observed


def read_items(aws: InMemoryAws, table: str) -> Iterator[dict[str, Any]]:
    """Yield the records of a table."""
    for stored in aws.dynamodb.tables[table].items.values():
        yield from_item(stored.item)


def read_partition(aws: InMemoryAws, table: str, partition: str) -> Iterator[dict[str, Any]]:
    """Yield the records of one partition, by sort key."""
    stored = aws.dynamodb.tables[table]
    for _, key in stored._collection.entries(partition):  # noqa: SLF001 - as above
        yield from_item(stored.items[key].item)


def has_due_entry(aws: InMemoryAws, table: str, index: str, *, before: str) -> bool:
    """Return whether an index of due times has an entry before that time, in any of its shards."""
    entries = aws.dynamodb.tables[table].indexes[index]
    entries.apply_due(float("inf"))
    return any(
        str(partition[0][0]) <= before
        for partition in entries._collection._partitions.values()  # noqa: SLF001 - as above
    )


class Queues:
    """What event source mappings and operators do with queues, by name."""

    def __init__(self, aws: InMemoryAws) -> None:
        self._sqs = aws.sqs

    def receive(self, queue: str, limit: int) -> Sequence[Mapping[str, Any]]:
        request = {"QueueUrl": get_queue_url(queue), "MaxNumberOfMessages": limit}
        messages: Sequence[Mapping[str, Any]] = self._sqs.receive_message(request).get("Messages", ())
        return messages

    def delete(self, queue: str, receipt: str) -> None:
        self._sqs.delete_message({"QueueUrl": get_queue_url(queue), "ReceiptHandle": receipt})

    def send(self, queue: str, body: str) -> None:
        self._sqs.send_message({"QueueUrl": get_queue_url(queue), "MessageBody": body})

    def count(self, queue: str) -> int:
        """Return how many messages a queue holds: visible, delayed and in flight."""
        found = self._sqs.queues[queue]
        return found.visible_count + found.delayed_count + found.in_flight_count

    def next_due(self, queue: str) -> float | None:
        """Return when a message can be received: 0 if one is visible, None if there is none."""
        found = self._sqs.queues[queue]
        return 0.0 if found.visible_count else found.next_due()
