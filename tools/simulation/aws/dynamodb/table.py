"""The items of a table and its indexes, with what eventually consistent reads may miss."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import TYPE_CHECKING

from tools.simulation.aws.dynamodb.values import measure_item

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tools.simulation.aws.calls import Choices
    from tools.simulation.aws.dynamodb.key_conditions import Entry, KeyRange
    from tools.simulation.aws.dynamodb.schema import IndexSchema, KeySchema, TableSchema
    from tools.simulation.aws.dynamodb.stream import Stream
    from tools.simulation.aws.dynamodb.values import Item, Key, Scalar, Value

# An eventually consistent read shows a write after "usually" a second (Amazon DynamoDB developer guide,
# "DynamoDB read consistency").
STALE_SECONDS = 1.0
# Items that expired more than five years ago are kept (Amazon DynamoDB developer guide, "Time to Live").
_MAX_EXPIRY_AGE_SECONDS = 5 * 365 * 24 * 3600
_NO_VALUE: Value = {}


class StoredItem:
    """An item and its size in bytes, which is measured when it is first needed if it is not known."""

    __slots__ = ("_size", "item")

    def __init__(self, item: Item, size: int | None = None) -> None:
        self.item = item
        self._size = size

    @property
    def size(self) -> int:
        if self._size is None:
            self._size = measure_item(self.item)
        return self._size


@dataclass(slots=True)
class _IndexEntry:
    partition: Scalar
    entry: Entry
    stored: StoredItem


class Collection:
    """Items in partitions, sorted in each: a table or an index."""

    def __init__(self) -> None:
        self._partitions: dict[Scalar, list[Entry]] = {}

    def add(self, partition: Scalar, entry: Entry) -> None:
        entries = self._partitions.setdefault(partition, [])
        if not entries or entries[-1] < entry:
            entries.append(entry)
        else:
            insort(entries, entry)

    def remove(self, partition: Scalar, entry: Entry) -> None:
        entries = self._partitions[partition]
        del entries[bisect_left(entries, entry)]
        if not entries:
            del self._partitions[partition]

    def entries(self, partition: Scalar) -> Sequence[Entry]:
        return self._partitions.get(partition, ())


class Index:
    """A global secondary index, which shows writes after a lag."""

    def __init__(self, schema: IndexSchema, table_key: KeySchema) -> None:
        self.schema = schema
        self._table_key = table_key
        self._collection = Collection()
        self._current: dict[Key, _IndexEntry] = {}
        # The sort keys of these entries
        self._sort_keys: list[Scalar] = []
        self._visible: dict[Key, _IndexEntry] = {}
        self._pending: list[tuple[float, int, Key, _IndexEntry | None]] = []
        self._last_due: dict[Key, float] = {}
        self._change_count = 0

    def write(
        self, key: Key, old: Item | None, item: Item | None, now: float, get_lag: Callable[[], float]
    ) -> None:
        """Change the entry of an item. `get_lag` is called if the index changes."""
        if old is not None and item is not None and self._shows_same(old, item):
            return
        current = self._current.get(key)
        new = self._build_entry(key, item) if item is not None else None
        if (current is None and new is None) or (
            current is not None and new is not None and current.stored.item == new.stored.item
        ):
            return
        self._replace(key, current, new)
        self.apply_due(now)
        # Changes of one item show in the order of its writes.
        due = max(now + get_lag(), self._last_due.get(key, 0.0))
        if due <= now:
            self._show(key, new)
            return
        self._change_count += 1
        self._last_due[key] = due
        heappush(self._pending, (due, self._change_count, key, new))

    def apply_due(self, now: float) -> None:
        while self._pending and self._pending[0][0] <= now:
            due, _, key, entry = heappop(self._pending)
            if self._last_due.get(key) == due:
                del self._last_due[key]
            self._show(key, entry)

    def entries(self, key_range: KeyRange) -> Sequence[Entry]:
        return self._collection.entries(key_range.partition)

    def list_keys(self, partition: Scalar, now: float) -> list[Key]:
        """Return the keys of the items that the partition shows."""
        self.apply_due(now)
        return [key for _, key in self._collection.entries(partition)]

    def get(self, key: Key) -> StoredItem:
        return self._visible[key].stored

    def has_entry_up_to(self, sort_key: Scalar) -> bool:
        """Return whether an item is or will be in the index with a sort key up to the given one."""
        return bool(self._sort_keys) and self._sort_keys[0] <= sort_key  # type: ignore[operator] # of one type in an index

    def _replace(self, key: Key, current: _IndexEntry | None, new: _IndexEntry | None) -> None:
        """Note what the index has or will have for an item."""
        if current is not None:
            del self._sort_keys[bisect_left(self._sort_keys, current.entry[0])]
        if new is None:
            del self._current[key]
        else:
            self._current[key] = new
            insort(self._sort_keys, new.entry[0])

    def _shows_same(self, old: Item, new: Item) -> bool:
        if self.schema.projected is None:
            return old == new
        for name in self.schema.shown:  # noqa: SIM110 - called at every write, where a generator takes longer
            if old.get(name) != new.get(name):
                return False
        return True

    def _show(self, key: Key, entry: _IndexEntry | None) -> None:
        shown = self._visible.pop(key, None)
        if shown is not None:
            self._collection.remove(shown.partition, shown.entry)
        if entry is not None:
            self._visible[key] = entry
            self._collection.add(entry.partition, entry.entry)

    def _build_entry(self, key: Key, item: Item) -> _IndexEntry | None:
        index_key = self.schema.read_key(item)
        if index_key is None:
            return None
        projected = self.schema.project(item, self._table_key)
        entry: Entry = (index_key[1] if len(index_key) > 1 else "", key)
        return _IndexEntry(index_key[0], entry, StoredItem(projected))


class Table:
    """The items of a table by key. `observers` are called with the old and the new item after each write."""

    def __init__(
        self,
        schema: TableSchema,
        now: Callable[[], float],
        choices: Callable[[], Choices],
        stream: Stream | None,
    ) -> None:
        self.schema = schema
        self.stream = stream
        self.observers: list[Callable[[Item | None, Item | None], None]] = []
        self.items: dict[Key, StoredItem] = {}
        self.indexes = {index.name: Index(index, schema.key) for index in schema.indexes}
        self._now = now
        self._choices = choices
        self._collection = Collection()
        self._recent: dict[Scalar, dict[Key, tuple[float, StoredItem | None]]] = {}
        self._recent_order: deque[tuple[float, Key]] = deque()
        # Expiry times that items have or had, the next one first.
        self._expiries: list[tuple[float, Key]] = []

    def check(self, item: Item) -> None:
        """Raise ValidationException if a key attribute of an index has a wrong type or is empty."""
        for index in self.indexes.values():
            index.schema.check(item)

    def write(self, key: Key, new: StoredItem | None, *, is_expiry: bool = False) -> None:
        """Put an item, or delete it if `new` is None."""
        old = self.items.get(key)
        if new is None and old is None:
            return
        now = self._now()
        entry: Entry = (key[1] if len(key) > 1 else "", key)
        if new is None:
            del self.items[key]
            self._collection.remove(key[0], entry)
        else:
            self.items[key] = new
            if old is None:
                self._collection.add(key[0], entry)
            self._note_expiry(key, old, new)
        self._remember(key, old, now)
        for name, index in self.indexes.items():
            index.write(
                key,
                old.item if old else None,
                new.item if new else None,
                now,
                lambda name=name: self._choices().index_lag(self.schema.name, name),  # type: ignore[misc] # a lambda with a default
            )
        self._record(key, old, new, is_expiry=is_expiry)
        for observe in self.observers:
            observe(old.item if old else None, new.item if new else None)

    def read_partition(self, partition: Scalar) -> list[Item]:
        """Return the items of a partition by sort key."""
        return [self.items[key].item for _, key in self._collection.entries(partition)]

    def get(self, key: Key, *, consistent: bool) -> StoredItem | None:
        current = self.items.get(key)
        if consistent:
            return current
        self._forget(self._now())
        recent = self._recent.get(key[0], {}).get(key)
        if recent is not None and self._choices().stale_read(self.schema.name):
            return recent[1]
        return current

    def snapshot(
        self, key_range: KeyRange, *, consistent: bool
    ) -> tuple[Sequence[Entry], Callable[[Key], StoredItem]]:
        """Return the sorted entries of a partition, and the function that returns their items."""
        entries = self._collection.entries(key_range.partition)
        if consistent:
            return entries, self.items.__getitem__
        self._forget(self._now())
        recent = self._recent.get(key_range.partition)
        if not recent or not self._choices().stale_read(self.schema.name):
            return entries, self.items.__getitem__
        previous = {key: stored for key, (_, stored) in recent.items()}
        kept = [entry for entry in entries if entry[1] not in previous]
        kept += [
            (key[1] if len(key) > 1 else "", key) for key, stored in previous.items() if stored is not None
        ]

        def get(key: Key) -> StoredItem:
            return previous.get(key) or self.items[key]

        return sorted(kept), get

    def expire(self) -> int:
        """Delete the items whose time to live has passed, in the order of keys, and return their number."""
        now = self._now()
        passed: set[Key] = set()
        while self._expiries and self._expiries[0][0] < now:
            passed.add(heappop(self._expiries)[1])
        expired = [key for key in sorted(passed) if self._has_expired(key, now)]
        for key in expired:
            self.write(key, None, is_expiry=True)
        return len(expired)

    def _note_expiry(self, key: Key, old: StoredItem | None, new: StoredItem) -> None:
        expiry = self._read_expiry(new.item)
        if expiry is not None and (old is None or self._read_expiry(old.item) != expiry):
            heappush(self._expiries, (expiry, key))

    def _has_expired(self, key: Key, now: float) -> bool:
        stored = self.items.get(key)
        expiry = self._read_expiry(stored.item) if stored is not None else None
        return expiry is not None and now - _MAX_EXPIRY_AGE_SECONDS < expiry < now

    def _read_expiry(self, item: Item) -> float | None:
        attribute = self.schema.ttl_attribute
        number = item.get(attribute, _NO_VALUE).get("N") if attribute is not None else None
        return float(number) if number is not None else None

    def _remember(self, key: Key, old: StoredItem | None, now: float) -> None:
        self._forget(now)
        self._recent.setdefault(key[0], {})[key] = (now, old)
        self._recent_order.append((now, key))

    def _forget(self, now: float) -> None:
        """Drop the earlier versions of items that every read shows by now."""
        order = self._recent_order
        while order and order[0][0] <= now - STALE_SECONDS:
            written_at, key = order.popleft()
            partition = self._recent.get(key[0], {})
            if key in partition and partition[key][0] == written_at:
                del partition[key]
                if not partition:
                    del self._recent[key[0]]

    def _record(self, key: Key, old: StoredItem | None, new: StoredItem | None, *, is_expiry: bool) -> None:
        """Add the change to the stream; a write that changes nothing is not recorded (GetRecords, Record)."""
        if self.stream is None:
            return
        old_item, new_item = old.item if old else None, new.item if new else None
        if old_item == new_item:
            return
        keys = self.schema.key.to_item(new_item or old_item or {})
        self.stream.append(key[0], keys, old_item, new_item, is_expiry=is_expiry)
