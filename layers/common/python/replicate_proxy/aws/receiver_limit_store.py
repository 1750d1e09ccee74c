"""Lanes in DynamoDB: an item per receiver with a map of leases, so that a dead worker's slot comes free."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from replicate_proxy.aws import delivery_records
from replicate_proxy.aws.dynamodb import (
    from_item,
    stored_record,
    to_item,
    to_value,
    translate_dynamodb_errors,
)
from replicate_proxy.clock import format_timestamp, parse_optional_timestamp, parse_timestamp
from replicate_proxy.errors import ConflictError
from replicate_proxy.webhooks.model import Verdict
from replicate_proxy.webhooks.receiver_limits import Lane, LaneFullError, slots_after

if TYPE_CHECKING:
    from replicate_proxy.webhooks.retry_policy import DeliverySettings
    from replicate_proxy.webhooks.sender import Answer


class DynamoLanes:
    """The Lanes port on the deliveries table."""

    def __init__(self, dynamodb: Any, table: str, settings: DeliverySettings) -> None:
        self._dynamodb = dynamodb
        self._table = table
        self._settings = settings

    def enter(self, tenant: str, lane: str, token: str, *, now: datetime) -> None:
        until = format_timestamp(now + timedelta(seconds=self._settings.lease))
        try:
            self._take(tenant, lane, token, until)
        except ConflictError as conflict:
            stored = stored_record(conflict)
            if stored is None:
                self._make(tenant, lane, token, until, now)
                return
            stale = [name for name, end in stored["slots"].items() if parse_timestamp(end) <= now]
            if not stale or not self._take_over(
                tenant, lane, token, until, (stale[0], stored["slots"][stale[0]])
            ):
                raise LaneFullError(int(stored["hangs"])) from None

    def leave(self, tenant: str, lane: str, token: str) -> None:
        self._update(tenant, lane, "REMOVE slots.#token", {"#token": token}, {})

    def settle(self, tenant: str, lane: str, token: str, *, answer: Answer, now: datetime) -> Lane:
        values: dict[str, Any] = {":now": format_timestamp(now), ":zero": 0, ":expires": self._expiry(now)}
        if answer.verdict is Verdict.TAKEN:
            change = "SET hangs = :zero, failures = :zero, last_success_at = :now, expires_at = :expires"
            change += " REMOVE slots.#token, failing_since"
        else:
            values[":one"] = 1
            hangs = "hangs + :one" if answer.hung else ":zero"
            change = f"SET hangs = {hangs}, failures = failures + :one, expires_at = :expires"
            change += ", failing_since = if_not_exists(failing_since, :now) REMOVE slots.#token"
            if answer.hung:
                del values[":zero"]
        return _lane(self._update(tenant, lane, change, {"#token": token}, values))

    def get(self, tenant: str, lane: str) -> Lane | None:
        with translate_dynamodb_errors("read lane"):
            reply = self._dynamodb.get_item(
                TableName=self._table, Key=_key(tenant, lane), ConsistentRead=True
            )
        return _lane(from_item(reply["Item"])) if "Item" in reply else None

    def forgive(self, tenant: str, lane: str) -> None:
        if self.get(tenant, lane) is not None:
            change = "SET hangs = :zero, failures = :zero REMOVE failing_since"
            self._update(tenant, lane, change, {}, {":zero": 0})

    def _take(self, tenant: str, lane: str, token: str, until: str) -> None:
        """A single write for a healthy delivery: the limit for each number of hangs is in the condition."""
        most = self._settings.lane_slots
        limits = {f":limit{hangs}": slots_after(hangs, most) for hangs in range(3)}
        room = "(hangs = :none AND size(slots) < :limit0) OR (hangs = :one AND size(slots) < :limit1)"
        room += " OR (hangs > :one AND size(slots) < :limit2)"
        with translate_dynamodb_errors("enter lane"):
            self._dynamodb.update_item(
                TableName=self._table,
                Key=_key(tenant, lane),
                UpdateExpression="SET slots.#token = :until",
                ConditionExpression=f"attribute_exists(slots) AND ({room})",
                ExpressionAttributeNames={"#token": token},
                ExpressionAttributeValues=_values({":until": until, ":none": 0, ":one": 1, **limits}),
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )

    def _make(self, tenant: str, lane: str, token: str, until: str, now: datetime) -> None:
        record = {"slots": {token: until}, "hangs": 0, "failures": 0, "expires_at": self._expiry(now)}
        try:
            with translate_dynamodb_errors("make lane"):
                self._dynamodb.put_item(
                    TableName=self._table,
                    Item={**_key(tenant, lane), **to_item(record)},
                    ConditionExpression="attribute_not_exists(pk)",
                )
        except ConflictError:
            self._take(tenant, lane, token, until)

    def _take_over(self, tenant: str, lane: str, token: str, until: str, stale: tuple[str, str]) -> bool:
        """The slot of a worker that died."""
        names = {"#token": token, "#stale": stale[0]}
        try:
            with translate_dynamodb_errors("take over slot"):
                self._dynamodb.update_item(
                    TableName=self._table,
                    Key=_key(tenant, lane),
                    UpdateExpression="SET slots.#token = :until REMOVE slots.#stale",
                    ConditionExpression="slots.#stale = :seen",
                    ExpressionAttributeNames=names,
                    ExpressionAttributeValues=_values({":until": until, ":seen": stale[1]}),
                )
        except ConflictError:
            return False
        return True

    def _update(
        self, tenant: str, lane: str, change: str, names: dict[str, str], values: dict[str, Any]
    ) -> dict[str, Any]:
        options: dict[str, Any] = {}
        if names:
            options["ExpressionAttributeNames"] = names
        if values:
            options["ExpressionAttributeValues"] = _values(values)
        with translate_dynamodb_errors("settle lane"):
            reply = self._dynamodb.update_item(
                TableName=self._table,
                Key=_key(tenant, lane),
                UpdateExpression=change,
                ReturnValues="ALL_NEW",
                **options,
            )
        return from_item(reply["Attributes"])

    def _expiry(self, now: datetime) -> int:
        return int((now + timedelta(days=self._settings.retention_days)).timestamp())


def _key(tenant: str, lane: str) -> dict[str, Any]:
    return to_item({"pk": delivery_records.tenant_pk(tenant), "sk": f"LANE#{lane}"})


def _values(values: dict[str, Any]) -> dict[str, Any]:
    return {name: to_value(value) for name, value in values.items()}


def _lane(record: dict[str, Any]) -> Lane:
    return Lane(
        in_flight=len(record["slots"]),
        hangs=record["hangs"],
        failures_in_a_row=record["failures"],
        failing_since=parse_optional_timestamp(record.get("failing_since")),
        last_success_at=parse_optional_timestamp(record.get("last_success_at")),
    )
