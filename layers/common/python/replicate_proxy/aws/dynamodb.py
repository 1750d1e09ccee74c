"""What all DynamoDB adapters share: items to plain records and back, errors, and reading many items.

A record is a dict of plain values: text, whole numbers, booleans, lists and dicts. Free JSON (inputs,
outputs) is stored as text, because DynamoDB has neither floats nor empty attribute names.
"""

from __future__ import annotations

from contextlib import suppress
from secrets import token_hex
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from replicate_proxy.aws.errors import translate_aws_errors
from replicate_proxy.errors import ConflictError, RetryableError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from types_boto3_dynamodb import DynamoDBClient
    from types_boto3_dynamodb.type_defs import PutItemInputTypeDef, QueryInputTypeDef


# BatchGetItem reads at most 100 items (Amazon DynamoDB API Reference).
MAX_BATCH_KEYS = 100
# BatchWriteItem writes at most 25 (same).
_MAX_BATCH_WRITES = 25
_MAX_BATCH_ATTEMPTS = 5

# Error codes, and the reasons of a canceled transaction (Amazon DynamoDB API Reference, TransactWriteItems)
_CONFLICT = frozenset({"ConditionalCheckFailed", "ConditionalCheckFailedException"})
_RETRYABLE = frozenset(
    {
        "InternalServerError",
        "ItemCollectionSizeLimitExceededException",
        "LimitExceededException",
        "ProvisionedThroughputExceeded",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "ServiceUnavailable",
        "ThrottlingError",
        "ThrottlingException",
        "TransactionConflict",
        "TransactionConflictException",
        "TransactionInProgressException",
    }
)

# DynamoDB numbers have up to 38 digits (Amazon DynamoDB Developer Guide, "Data types").
_MAX_NUMBER = 10**38


def translate_dynamodb_errors(operation: str) -> AbstractContextManager[None]:
    """Raise ConflictError, RetryableError or PermanentError for errors of DynamoDB.

    ConflictError means that a condition failed, RetryableError that the failure is temporary.
    """
    return translate_aws_errors(operation, conflict=_CONFLICT, retryable=_RETRYABLE)


def to_item(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the record as a DynamoDB item.

    Attributes that are None are left out: an item without an index's key attributes is not in that index.
    """
    return {name: to_value(value) for name, value in record.items() if value is not None}


def to_value(value: Any) -> Any:
    """Return a value in the form that expressions take.

    The types of records are converted here, because boto3's serializer takes several times as long, and its
    import a tenth of a cold start. It converts all others, and rejects what DynamoDB cannot store.
    """
    if isinstance(value, str):
        return {"S": str(value)}
    kind = type(value)
    if kind is int and -_MAX_NUMBER < value < _MAX_NUMBER:
        return {"N": str(value)}
    if kind is dict:
        return {"M": {name: to_value(entry) for name, entry in value.items()}}
    if kind is list:
        return {"L": [to_value(entry) for entry in value]}
    return _to_other_value(value)


def from_item(item: Mapping[str, Any]) -> dict[str, Any]:
    """Return the record of an item; numbers are int if whole, else float."""
    return {name: value["S"] if "S" in value else _to_plain(value) for name, value in item.items()}


def put_record(
    client: DynamoDBClient,
    table: str,
    record: Mapping[str, Any],
    operation: str,
    *,
    condition: str,
    values: Mapping[str, Any] | None = None,
) -> None:
    """Put a record whose key's stored record meets the condition. Raises ConflictError if it does not.

    `values` are the plain values of the condition's names, as in `{":revision": 3}`. The SDK repeats a
    request whose response is lost, and the condition then meets the write's own effect: the record carries a
    random `write_id`, by which the write recognizes itself.
    """
    write_id = token_hex(8)
    request: PutItemInputTypeDef = {
        "TableName": table,
        "Item": to_item({**record, "write_id": write_id}),
        "ConditionExpression": condition,
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
    }
    if values:
        request["ExpressionAttributeValues"] = {name: to_value(value) for name, value in values.items()}
    try:
        with translate_dynamodb_errors(operation):
            client.put_item(**request)
    except ConflictError as conflict:
        if not is_own_write(conflict, write_id):
            raise


def get_record(
    client: DynamoDBClient,
    table: str,
    key: Mapping[str, Any],
    operation: str,
    *,
    consistent: bool = True,
) -> dict[str, Any]:
    """Return the record under the key, empty if there is none."""
    with translate_dynamodb_errors(operation):
        response = client.get_item(TableName=table, Key=to_item(key), ConsistentRead=consistent)
    return from_item(response.get("Item", {}))


def iterate_records(
    client: DynamoDBClient, request: QueryInputTypeDef, operation: str, *, limit: int | None = None
) -> Iterator[dict[str, Any]]:
    """Yield the records of a query, at most `limit`, page by page.

    A page ends at 1 MB, even if it has fewer items than its limit (Amazon DynamoDB API Reference, Query).
    """
    request, count = {**request}, 0
    while True:
        if limit is not None:
            request["Limit"] = limit - count
        with translate_dynamodb_errors(operation):
            response = client.query(**request)
        yield from map(from_item, response["Items"])
        count += len(response["Items"])
        if "LastEvaluatedKey" not in response or count == limit:
            return
        request["ExclusiveStartKey"] = response["LastEvaluatedKey"]


def batch_get_records(
    client: DynamoDBClient,
    table: str,
    keys: Sequence[Mapping[str, Any]],
    operation: str,
    *,
    consistent: bool = False,
) -> list[dict[str, Any]]:
    """Return the records that exist under the keys (`to_item` form), in no particular order.

    Raises RetryableError if DynamoDB leaves keys unprocessed in several calls in a row.
    """
    records: list[dict[str, Any]] = []
    for start in range(0, len(keys), MAX_BATCH_KEYS):
        batch = {"Keys": list(keys[start : start + MAX_BATCH_KEYS]), "ConsistentRead": consistent}
        unprocessed: Any = {table: batch}
        for _ in range(_MAX_BATCH_ATTEMPTS):
            with translate_dynamodb_errors(operation):
                response = client.batch_get_item(RequestItems=unprocessed)
            records += map(from_item, response["Responses"].get(table, ()))
            unprocessed = response.get("UnprocessedKeys")
            if not unprocessed:
                break
        else:
            raise RetryableError(f"cannot {operation}: DynamoDB left keys unprocessed")
    return records


def delete_record(
    client: DynamoDBClient,
    table: str,
    key: Mapping[str, Any],
    operation: str,
    *,
    condition: str = "",
    values: Mapping[str, Any] | None = None,
    names: Mapping[str, str] | None = None,
) -> None:
    """Delete the record under the key if it exists and meets the condition.

    `values` are the plain values of the condition, `names` the attributes whose names are reserved words.
    """
    options: dict[str, Any] = {}
    if condition:
        options = {"ConditionExpression": condition, "ExpressionAttributeValues": to_item(values or {})}
    if names is not None:
        options["ExpressionAttributeNames"] = names
    with suppress(ConflictError), translate_dynamodb_errors(operation):
        client.delete_item(TableName=table, Key=to_item(key), **options)


def batch_delete(
    client: DynamoDBClient, table: str, keys: Sequence[Mapping[str, Any]], operation: str
) -> None:
    """Delete the items under the keys (`to_item` form), whether they exist or not.

    Raises RetryableError if DynamoDB leaves items unprocessed in several calls in a row.
    """
    for start in range(0, len(keys), _MAX_BATCH_WRITES):
        requests = [{"DeleteRequest": {"Key": key}} for key in keys[start : start + _MAX_BATCH_WRITES]]
        unprocessed: Any = {table: requests}
        for _ in range(_MAX_BATCH_ATTEMPTS):
            with translate_dynamodb_errors(operation):
                unprocessed = client.batch_write_item(RequestItems=unprocessed).get("UnprocessedItems")
            if not unprocessed:
                break
        else:
            raise RetryableError(f"cannot {operation}: DynamoDB left items unprocessed")


def get_stored_record(conflict: ConflictError) -> dict[str, Any] | None:
    """Return the record that made a condition fail, or None if there is none.

    The request must set `ReturnValuesOnConditionCheckFailure` to `ALL_OLD`.
    """
    error = conflict.__cause__
    item: Any = error.response.get("Item") if isinstance(error, ClientError) else None
    return from_item(item) if item else None


def is_own_write(conflict: ConflictError, write_id: str) -> bool:
    """Return whether the stored record, which did not meet the condition, is that of the write itself."""
    return (get_stored_record(conflict) or {}).get("write_id") == write_id


def _to_other_value(value: Any) -> Any:
    if value is None:
        return {"NULL": True}
    if isinstance(value, bool):
        return {"BOOL": value}
    if isinstance(value, set) and value and all(isinstance(entry, str) for entry in value):
        return {"SS": [str(entry) for entry in value]}
    return _load_boto3_types().TypeSerializer().serialize(value)


def _to_plain(value: Mapping[str, Any]) -> Any:
    ((kind, content),) = value.items()
    if kind == "S":
        return content
    if kind == "N":
        return _parse_number(content)
    if kind == "M":
        return from_item(content)
    if kind == "L":
        return [_to_plain(entry) for entry in content]
    return _to_other_plain(kind, content)


def _to_other_plain(kind: str, content: Any) -> Any:
    if kind == "BOOL":
        return content
    if kind == "NULL":
        return None
    if kind == "SS":
        return set(content)
    return _load_boto3_types().TypeDeserializer().deserialize({kind: content})


def _load_boto3_types() -> Any:
    from boto3.dynamodb import types  # noqa: PLC0415 - see `to_value`

    return types


def _parse_number(text: str) -> int | float:
    if text.removeprefix("-").isdecimal():
        return int(text)
    number = _load_boto3_types().DYNAMODB_CONTEXT.create_decimal(text)
    return int(number) if number == number.to_integral_value() else float(number)
