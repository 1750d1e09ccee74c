"""Plain Python values to DynamoDB's attribute values and back, and its errors as ours.

Our items hold text, whole numbers, flags, lists and maps; free JSON (inputs, outputs) is stored as text,
since DynamoDB has no floats and no empty-key maps.
"""

from __future__ import annotations

from contextlib import contextmanager
from decimal import Decimal
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from boto3.dynamodb.types import TypeDeserializer, TypeSerializer
from botocore.exceptions import BotoCoreError, ClientError

from replicate_proxy.errors import ConflictError, PermanentError, RetryableError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


_serialize = TypeSerializer().serialize
_deserialize = TypeDeserializer().deserialize

_PASSING = frozenset(
    {
        "InternalServerError",
        "ItemCollectionSizeLimitExceededException",
        "LimitExceededException",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "ServiceUnavailable",
        "ThrottlingException",
        "TransactionConflictException",
        "TransactionInProgressException",
    }
)


# Reasons of a canceled transaction (Amazon DynamoDB API Reference, TransactWriteItems)
_PASSING_REASONS = frozenset(
    {"None", "ProvisionedThroughputExceeded", "ThrottlingError", "TransactionConflict"}
)


def to_item(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record as PutItem takes it; attributes that are None are left out, so that sparse indexes stay
    sparse.
    """
    return {name: _serialize(value) for name, value in record.items() if value is not None}


def to_value(value: Any) -> Any:
    """One value as an expression takes it."""
    return _serialize(value)


def from_item(item: Mapping[str, Any]) -> dict[str, Any]:
    """The record behind an item; numbers come back as int where whole, else float."""
    return {name: _plain(_deserialize(value)) for name, value in item.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_plain(entry) for entry in value]
    return value


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Turns DynamoDB's errors into ours: a failed condition is a ConflictError, a passing failure a
    RetryableError.
    """
    try:
        yield
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "")
        reasons = {reason.get("Code") for reason in error.response.get("CancellationReasons", ())}
        if code == "ConditionalCheckFailedException" or "ConditionalCheckFailed" in reasons:
            raise ConflictError(what) from error
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        passing = code in _PASSING or (reasons and reasons <= _PASSING_REASONS)
        if passing or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise RetryableError(f"{what}: {code}") from error
        raise PermanentError(f"{what}: {code}") from error
    except BotoCoreError as error:
        raise RetryableError(f"{what}: {type(error).__name__}") from error
