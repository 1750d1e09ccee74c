"""The control table: what all functions share, such as circuit breakers and leases, one item per key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from replicate_proxy.aws.dynamodb import (
    from_item,
    get_record,
    get_stored_record,
    to_item,
    to_value,
    translate_dynamodb_errors,
)
from replicate_proxy.errors import ConflictError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from types_boto3_dynamodb import DynamoDBClient
    from types_boto3_dynamodb.type_defs import UpdateItemInputTypeDef


type Record = Mapping[str, Any]


class ConditionFailedError(ConflictError):
    """The condition of an update was not met. `record` is the stored record."""

    def __init__(self, message: str, record: Record) -> None:
        super().__init__(message)
        self.record = record


class ControlTable:
    """The table named by the environment variable CONTROL_TABLE."""

    def __init__(self, client: DynamoDBClient, table: str) -> None:
        self._client = client
        self._table = table

    def read(self, key: str) -> Record:
        """Return the current record, empty if there is none."""
        return get_record(self._client, self._table, {"pk": key}, "read control record")

    def set_attributes(self, key: str, values: Mapping[str, Any], *, condition: str | None = None) -> Record:
        """Set attributes of the record, which is created if it is missing; otherwise as `update`."""
        assignments = ", ".join(f"{name} = :{name}" for name in values)
        return self.update(key, f"SET {assignments}", values, condition=condition)

    def update(
        self, key: str, expression: str, values: Mapping[str, Any], *, condition: str | None = None
    ) -> Record:
        """Apply an update expression and return the whole record after it.

        `expression` and `condition` refer to `values` as `:name`, and to the attribute `state`, a reserved
        word, as `#state`. Raises ConditionFailedError if `condition` is not met.
        """
        request: UpdateItemInputTypeDef = {
            "TableName": self._table,
            "Key": to_item({"pk": key}),
            "UpdateExpression": expression,
            "ReturnValues": "ALL_NEW",
        }
        if values:
            request["ExpressionAttributeValues"] = {
                f":{name}": to_value(value) for name, value in values.items()
            }
        if "#state" in expression:
            request["ExpressionAttributeNames"] = {"#state": "state"}
        if condition is not None:
            request["ConditionExpression"] = condition
            request["ReturnValuesOnConditionCheckFailure"] = "ALL_OLD"
        try:
            with translate_dynamodb_errors("update control record"):
                return from_item(self._client.update_item(**request)["Attributes"])
        except ConflictError as error:
            stored = get_stored_record(error) or self.read(key)
            raise ConditionFailedError("the control record has changed", stored) from error
