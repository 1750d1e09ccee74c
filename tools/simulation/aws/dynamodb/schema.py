"""Keys, indexes and options of a table, read from the properties of AWS::DynamoDB::Table."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tools.simulation.aws.calls import refuse_unknown
from tools.simulation.aws.dynamodb.values import (
    MAX_PARTITION_KEY_BYTES,
    MAX_SORT_KEY_BYTES,
    text_bytes,
    to_scalar,
)
from tools.simulation.aws.errors import RejectedError, validation_error

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tools.simulation.aws.dynamodb.values import Item, Key, Scalar, Value

# Properties that change nothing that a client can see
_INVISIBLE = (
    "BillingMode",
    "DeletionProtectionEnabled",
    "PointInTimeRecoverySpecification",
    "SSESpecification",
    "Tags",
)


@dataclass(frozen=True)
class KeySchema:
    """The key attributes, and the types (S, N or B) of all attributes that are defined."""

    partition: str
    sort: str | None
    kinds: Mapping[str, str]
    attributes: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        attributes = (self.partition,) if self.sort is None else (self.partition, self.sort)
        object.__setattr__(self, "attributes", attributes)

    def key_of(self, item: Item) -> Key:
        """Return the key of an item. Raises ValidationException if it is missing, empty or too long."""
        key = [self._read(item, self.partition, MAX_PARTITION_KEY_BYTES)]
        if self.sort is not None:
            key.append(self._read(item, self.sort, MAX_SORT_KEY_BYTES))
        return tuple(key)

    def check_key(self, key: Item) -> Key:
        """Return the key of a request that consists of the key attributes only."""
        if len(key) != len(self.attributes):
            raise _mismatched_key()
        for name in self.attributes:
            if name not in key or self.kinds[name] not in key[name]:
                raise _mismatched_key()
        return self.key_of(key)

    def to_item(self, item: Item) -> dict[str, Value]:
        return {name: item[name] for name in self.attributes}

    def _read(self, item: Item, attribute: str, limit: int) -> Scalar:
        value = item.get(attribute)
        if value is None:
            raise validation_error(
                f"One or more parameter values were invalid: Missing the key {attribute} in the item"
            )
        kind = next(iter(value))
        if kind != self.kinds[attribute]:
            raise validation_error(
                f"One or more parameter values were invalid: Type mismatch for key {attribute} expected:"
                f" {self.kinds[attribute]} actual: {kind}"
            )
        content = value[kind]
        if kind == "N":
            scalar: Scalar = to_scalar(value)
            return scalar
        if not content:
            raise _empty_key(
                "The AttributeValue for a key attribute cannot contain an empty string value. Key:"
                f" {attribute}"
            )
        if len(content) > limit // 4 and _content_bytes(content) > limit:
            raise _long_key(limit, is_partition=attribute == self.partition)
        return content  # type: ignore[no-any-return] # a text or bytes, as `kind` says


def _mismatched_key() -> RejectedError:
    return validation_error("The provided key element does not match the schema")


def _empty_key(detail: str) -> RejectedError:
    return validation_error(f"One or more parameter values are not valid. {detail}")


def _long_key(limit: int, *, is_partition: bool) -> RejectedError:
    what = (
        f"Size of hashkey has exceeded the maximum size limit of{limit} bytes"
        if is_partition
        else f"Aggregated size of all range keys has exceeded the size limit of {limit} bytes"
    )
    return validation_error(f"One or more parameter values were invalid: {what}")


def _content_bytes(content: str | bytes) -> int:
    return text_bytes(content) if isinstance(content, str) else len(content)


@dataclass(frozen=True)
class IndexSchema:
    """A global secondary index. `projected` holds the attributes besides the keys, None for all."""

    name: str
    key: KeySchema
    projected: tuple[str, ...] | None
    # The attributes besides those of the table's key that the index shows, unless it shows all.
    shown: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "shown", (*self.key.attributes, *(self.projected or ())))

    def read_key(self, item: Item) -> Key | None:
        """Return the key of a checked item in the index, None if the index does not contain it."""
        try:
            return tuple([to_scalar(item[name]) for name in self.key.attributes])
        except KeyError:
            return None

    def project(self, item: Item, table_key: KeySchema) -> dict[str, Value]:
        if self.projected is None:
            return dict(item)
        names = dict.fromkeys((*table_key.attributes, *self.key.attributes, *self.projected))
        return {name: item[name] for name in names if name in item}

    def check(self, item: Item) -> None:
        """Raise ValidationException if a key attribute has a wrong type, is empty or too long."""
        for name in self.key.attributes:
            value = item.get(name)
            if value is None:
                continue
            kind = next(iter(value))
            if kind != self.key.kinds[name]:
                raise validation_error(
                    f"One or more parameter values were invalid: Type mismatch for Index Key {name} Expected:"
                    f" {self.key.kinds[name]} Actual: {kind} IndexName: {self.name}"
                )
            content = value[kind]
            if kind != "N" and not content:
                raise _empty_key(
                    "A value specified for a secondary index key is not supported. The AttributeValue"
                    " for a key"
                    f" attribute cannot contain an empty string value. IndexName: {self.name},"
                    f" IndexKey: {name}"
                )
            limit = MAX_PARTITION_KEY_BYTES if name == self.key.partition else MAX_SORT_KEY_BYTES
            if kind != "N" and len(content) > limit // 4 and _content_bytes(content) > limit:
                raise _long_key(limit, is_partition=name == self.key.partition)


@dataclass(frozen=True)
class TableSchema:
    name: str
    key: KeySchema
    indexes: tuple[IndexSchema, ...]
    has_stream: bool
    ttl_attribute: str | None


def parse_table(properties: Mapping[str, Any]) -> TableSchema:
    """Return the schema of AWS::DynamoDB::Table. Raises NotImplementedError for other properties."""
    refuse_unknown(
        properties,
        "TableName",
        "AttributeDefinitions",
        "KeySchema",
        "GlobalSecondaryIndexes",
        "StreamSpecification",
        "TimeToLiveSpecification",
        *_INVISIBLE,
        place="Table",
    )
    kinds = {entry["AttributeName"]: entry["AttributeType"] for entry in properties["AttributeDefinitions"]}
    stream = properties.get("StreamSpecification")
    if stream and stream["StreamViewType"] != "NEW_AND_OLD_IMAGES":
        raise NotImplementedError(f"a stream of {stream['StreamViewType']}")
    ttl = properties.get("TimeToLiveSpecification", {})
    return TableSchema(
        name=properties["TableName"],
        key=_parse_key(properties["KeySchema"], kinds),
        indexes=tuple(_parse_index(index, kinds) for index in properties.get("GlobalSecondaryIndexes", ())),
        has_stream=bool(stream),
        ttl_attribute=ttl["AttributeName"] if ttl.get("Enabled") else None,
    )


def _parse_key(key_schema: list[Mapping[str, str]], kinds: Mapping[str, str]) -> KeySchema:
    by_role = {entry["KeyType"]: entry["AttributeName"] for entry in key_schema}
    return KeySchema(by_role["HASH"], by_role.get("RANGE"), kinds)


def _parse_index(index: Mapping[str, Any], kinds: Mapping[str, str]) -> IndexSchema:
    refuse_unknown(index, "IndexName", "KeySchema", "Projection", place="GlobalSecondaryIndexes")
    projection = index["Projection"]
    kind = projection["ProjectionType"]
    projected = None if kind == "ALL" else tuple(projection.get("NonKeyAttributes", ()))
    return IndexSchema(index["IndexName"], _parse_key(index["KeySchema"], kinds), projected)
