"""Records shared by all functions: what the breaker and the rate limiters know. One item each, by `pk`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from replicate_proxy.aws.dynamodb import (
    from_item,
    stored_record,
    to_item,
    to_value,
    translate_dynamodb_errors,
)
from replicate_proxy.errors import ConflictError

if TYPE_CHECKING:
    from collections.abc import Mapping


type Record = Mapping[str, Any]


class ConditionFailedError(ConflictError):
    """The condition of a change did not hold; `record` is what is stored instead."""

    def __init__(self, message: str, record: Record) -> None:
        super().__init__(message)
        self.record = record


class ControlTable:
    """The table of env CONTROL_TABLE."""

    def __init__(self, dynamodb: Any, table: str) -> None:
        self._dynamodb = dynamodb
        self._table = table

    def read(self, key: str) -> Record:
        """Return the current record, empty if there is none."""
        with translate_dynamodb_errors("read control record"):
            reply = self._dynamodb.get_item(
                TableName=self._table, Key=to_item({"pk": key}), ConsistentRead=True
            )
        return from_item(reply.get("Item", {}))

    def update(
        self, key: str, update: str, values: Mapping[str, Any], *, condition: str | None = None
    ) -> Record:
        """Applies an update expression, with `:name` for each of `values`, and gives the whole record after
        it.

        Raises ConditionFailedError where `condition` does not hold.
        """
        request: dict[str, Any] = {
            "TableName": self._table,
            "Key": to_item({"pk": key}),
            "UpdateExpression": update,
            "ExpressionAttributeValues": {f":{name}": to_value(value) for name, value in values.items()},
            "ReturnValues": "ALL_NEW",
        }
        if "#state" in update:  # a reserved word of DynamoDB's expressions
            request["ExpressionAttributeNames"] = {"#state": "state"}
        if condition is not None:
            request["ConditionExpression"] = condition
            request["ReturnValuesOnConditionCheckFailure"] = "ALL_OLD"
        try:
            with translate_dynamodb_errors("change control record"):
                return from_item(self._dynamodb.update_item(**request)["Attributes"])
        except ConflictError as error:
            raise ConditionFailedError("control record", stored_record(error) or self.read(key)) from error
