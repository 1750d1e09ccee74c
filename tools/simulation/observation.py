"""Access to the in-memory AWS from outside the system: what an omniscient observer sees and event sources do.

None of it passes the gate: it takes no time and never fails.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from replicate_proxy.aws.dynamodb import from_item
from replicate_proxy.aws.job_records import DELETED
from tools.simulation.aws.queue_names import get_queue_url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from tools.simulation.aws import InMemoryAws
    from tools.simulation.aws.dynamodb.values import Key
    from tools.simulation.aws.s3_objects import StoredObject

type Item = Mapping[str, Any]
type OnWrite = Callable[[str, Item | None, Item | None], None]


def observe_writes(aws: InMemoryAws, on_write: OnWrite) -> None:
    """Call `on_write(table, old, new)` after every write of an item, however it came about."""
    for name, table in aws.dynamodb.tables.items():
        table.observers.append(partial(on_write, name))


def is_deletion_item(item: Item | None) -> bool:
    """Return whether the item has the record of a deletion in place of a job."""
    return item is not None and item.get("status") == {"S": DELETED}


def observe_objects(
    aws: InMemoryAws, bucket: str, on_put: Callable[[str, bytes | None, bytes | None], None]
) -> None:
    """Call `on_put(key, old, new)` after every write of an object."""

    def observe(key: str, old: StoredObject | None, new: StoredObject | None) -> None:
        on_put(key, old.body if old else None, new.body if new else None)

    aws.s3.observe(bucket, observe)


def read_items(aws: InMemoryAws, table: str) -> Iterator[dict[str, Any]]:
    """Yield the records of a table."""
    for stored in aws.dynamodb.tables[table].items.values():
        yield from_item(stored.item)


class ConvertedRecords[Converted]:
    """The records of a table in another form, in the order of their first writes.

    Only those that were written since the last read are converted. `convert` returns None for records that
    are left out.
    """

    def __init__(
        self, aws: InMemoryAws, table: str, convert: Callable[[Mapping[str, Any]], Converted | None]
    ) -> None:
        self._convert = convert
        self._key_of = aws.dynamodb.tables[table].schema.key.key_of
        self._known: dict[Key, Converted | None] = {}
        self._written: dict[Key, Item] = {}
        aws.dynamodb.tables[table].observers.append(self._note_write)

    def read(self) -> list[Converted]:
        """Return what the present records are converted to."""
        for key, item in self._written.items():
            self._known[key] = self._convert(from_item(item))
        self._written.clear()
        return [converted for converted in self._known.values() if converted is not None]

    def _note_write(self, old: Item | None, new: Item | None) -> None:
        key = self._key_of(new or old or {})
        if new is not None:
            self._known.setdefault(key)
            self._written[key] = new
        else:
            del self._known[key]
            self._written.pop(key, None)


def read_partition(
    aws: InMemoryAws, table: str, partition: str, *, sk_prefix: str
) -> Iterator[dict[str, Any]]:
    """Yield the records of one partition whose sort key has the prefix, by sort key."""
    for item in aws.dynamodb.tables[table].read_partition(partition):
        if item["sk"]["S"].startswith(sk_prefix):
            yield from_item(item)


def has_due_entry(aws: InMemoryAws, table: str, index: str, *, before: str) -> bool:
    """Return whether an index of due times has, or is about to have, an entry before that time."""
    return aws.dynamodb.tables[table].indexes[index].has_entry_up_to(before)


class Queues:
    """What event source mappings and operators do with queues, by name."""

    def __init__(self, aws: InMemoryAws) -> None:
        self._sqs = aws.sqs

    def receive(
        self, queue: str, limit: int, *, attributes: Sequence[str] = ()
    ) -> Sequence[Mapping[str, Any]]:
        """Receive messages, with these system attributes."""
        request = {
            "QueueUrl": get_queue_url(queue),
            "MaxNumberOfMessages": limit,
            "MessageSystemAttributeNames": attributes,
        }
        messages: Sequence[Mapping[str, Any]] = self._sqs.receive_message(request).get("Messages", ())
        return messages

    def delete(self, queue: str, receipt: str) -> None:
        self._sqs.delete_message({"QueueUrl": get_queue_url(queue), "ReceiptHandle": receipt})

    def send(self, queue: str, body: str, *, group: str | None = None) -> None:
        options = {"MessageGroupId": group} if group is not None else {}
        self._sqs.send_message({"QueueUrl": get_queue_url(queue), "MessageBody": body, **options})

    def count(self, queue: str) -> int:
        """Return how many messages a queue holds: visible, delayed and in flight."""
        found = self._sqs.get_queue(queue)
        return found.visible_count + found.delayed_count + found.in_flight_count

    def next_due(self, queue: str) -> float | None:
        """Return when a message can be received: 0 if one is visible, None if there is none."""
        found = self._sqs.get_queue(queue)
        return 0.0 if found.visible_count else found.next_due()
