"""The write units of requests to DynamoDB, with those of the indexes.

Sources: Amazon DynamoDB Developer Guide, "DynamoDB Item sizes and formats", "DynamoDB read and write
operations", and "Using Global Secondary Indexes", "Write throughput considerations".
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from types_boto3_dynamodb import DynamoDBClient

    type Item = Mapping[str, Mapping[str, Any]]

_WRITE_UNIT_BYTES = 1024
_CONTAINER_BYTES = 3


@dataclass(frozen=True, slots=True)
class Index:
    """A secondary index; `projected` has its attributes without the keys of the table, None for all."""

    keys: tuple[str, ...]
    projected: frozenset[str] | None

    def find_entry(self, item: Item | None) -> Item | None:
        """Return what the index holds of an item: nothing unless the item has all its keys."""
        if item is None or not all(key in item for key in self.keys):
            return None
        return {
            name: value for name, value in item.items() if self.projected is None or name in self.projected
        }

    def count_units(self, old: Item | None, new: Item | None) -> int:
        """Return the units of a change. An entry whose key changes is deleted and written again."""
        old_entry, new_entry = self.find_entry(old), self.find_entry(new)
        if old_entry == new_entry:
            return 0
        has_moved = (
            old_entry is not None
            and new_entry is not None
            and any(old_entry[key] != new_entry[key] for key in self.keys)
        )
        sizes = [calculate_item_bytes(entry) for entry in (old_entry, new_entry) if entry is not None]
        return sum(map(round_up, sizes)) if has_moved else round_up(max(sizes))


@dataclass(frozen=True, slots=True)
class Table:
    """The keys of a table, and its indexes."""

    keys: tuple[str, ...]
    indexes: tuple[Index, ...] = ()


class WriteMeter:
    """Counts the units of writes. It remembers items, since what a write costs depends on what it replaces.

    An item that it has not seen written counts as new, and an update as one unit.
    """

    def __init__(self, tables: Mapping[str, Table]) -> None:
        self._tables = tables
        self._items: dict[tuple[str, str], Item] = {}

    def count_put(self, table_name: str, item: Item) -> int:
        return self._count(table_name, item, item)

    def count_delete(self, table_name: str, key: Item) -> int:
        return self._count(table_name, key, None)

    def _count(self, table_name: str, key: Item, new: Item | None) -> int:
        table = self._tables.get(table_name, Table(()))
        place = table_name, json.dumps([key.get(name) for name in table.keys])
        old = self._items.pop(place, None)
        if new is not None and table.keys:
            self._items[place] = new
        size = max(calculate_item_bytes(item) for item in (old, new, {}) if item is not None)
        return round_up(size) + sum(index.count_units(old, new) for index in table.indexes)


def read_tables(client: DynamoDBClient) -> dict[str, Table]:
    """Return the definitions of all tables, by name."""
    names = [name for page in client.get_paginator("list_tables").paginate() for name in page["TableNames"]]
    tables = {}
    for name in names:
        description = client.describe_table(TableName=name)["Table"]
        keys = tuple(key["AttributeName"] for key in description["KeySchema"])
        indexes = [_build_index(index, keys) for index in description.get("GlobalSecondaryIndexes", [])]
        tables[name] = Table(keys, tuple(indexes))
    return tables


def _build_index(description: Any, table_keys: Sequence[str]) -> Index:
    keys = tuple(key["AttributeName"] for key in description["KeySchema"])
    projection = description["Projection"]
    if projection["ProjectionType"] == "ALL":
        return Index(keys, None)
    return Index(keys, frozenset({*keys, *table_keys, *projection.get("NonKeyAttributes", [])}))


def round_up(size_bytes: int) -> int:
    """Return the units of a write of that size, one at least."""
    return max(1, math.ceil(size_bytes / _WRITE_UNIT_BYTES))


def calculate_item_bytes(item: Item) -> int:
    """Return the size of an item as DynamoDB charges it, without the overhead of the storage."""
    return sum(len(name.encode()) + _calculate_value_bytes(value) for name, value in item.items())


def _calculate_value_bytes(value: Mapping[str, Any]) -> int:
    ((kind, content),) = value.items()
    match kind:
        case "S":
            size = len(content.encode())
        case "N":
            # One byte for two digits, and one more.
            size = math.ceil(len(content.strip("-.0")) / 2) + 1
        case "B":
            size = len(content) * 3 // 4  # as base64
        case "BOOL" | "NULL":
            size = 1
        case "L":
            size = _CONTAINER_BYTES + sum(1 + _calculate_value_bytes(each) for each in content)
        case "M":
            size = _CONTAINER_BYTES + len(content) + calculate_item_bytes(content)
        case _:
            # A set.
            size = sum(_calculate_value_bytes({kind[0]: each}) for each in content)
    return size
