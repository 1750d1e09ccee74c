"""Receiver limits in DynamoDB: one item per receiver with its health and a map of slot leases.

Each lease ends by itself, so that the slot of a crashed worker becomes free.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from replicate_proxy.aws.delivery_records import tenant_pk
from replicate_proxy.aws.dynamodb import (
    from_item,
    get_record,
    get_stored_record,
    to_item,
    to_value,
    translate_dynamodb_errors,
)
from replicate_proxy.clock import format_timestamp, parse_optional_timestamp, parse_timestamp
from replicate_proxy.errors import ConflictError
from replicate_proxy.webhooks.model import AttemptResult
from replicate_proxy.webhooks.receiver_limits import (
    ConcurrencyLimitError,
    ReceiverHealth,
    calculate_allowed_concurrency,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from types_boto3_dynamodb import DynamoDBClient

    from replicate_proxy.webhooks.sender import ReceiverResponse
    from replicate_proxy.webhooks.settings import DeliverySettings


class DynamoReceiverLimitStore:
    """The ReceiverLimitStore port on the deliveries table."""

    def __init__(self, client: DynamoDBClient, table: str, settings: DeliverySettings) -> None:
        self._client = client
        self._table = table
        self._settings = settings

    def acquire_slot(self, tenant: str, receiver_id: str, token: str, *, now: datetime) -> None:
        lease_until = format_timestamp(now + timedelta(seconds=self._settings.lease_seconds))
        record = self._add_slot(tenant, receiver_id, token, lease_until)
        if record is not None and "slots" not in record:
            self._create(tenant, receiver_id, now)
            record = self._add_slot(tenant, receiver_id, token, lease_until)
        if record is None:
            return
        expired = [slot for slot in record["slots"].items() if parse_timestamp(slot[1]) <= now]
        if not expired or not self._replace_slot(tenant, receiver_id, token, lease_until, expired[0]):
            raise ConcurrencyLimitError(int(record["consecutive_unanswered"]))

    def release_slot(self, tenant: str, receiver_id: str, token: str) -> None:
        self._update(tenant, receiver_id, "REMOVE slots.#token", {}, token=token)

    def record_response(
        self, tenant: str, receiver_id: str, token: str, *, response: ReceiverResponse, now: datetime
    ) -> ReceiverHealth:
        values: dict[str, Any] = {
            ":now": format_timestamp(now),
            ":expires_at": self._settings.calculate_expiry(now),
        }
        if response.result is AttemptResult.DELIVERED:
            values[":zero"] = 0
            expression = (
                "SET consecutive_unanswered = :zero, consecutive_failures = :zero, last_success_at = :now,"
                " expires_at = :expires_at REMOVE slots.#token, failing_since, last_failure_at"
            )
            return _health_from_record(self._update(tenant, receiver_id, expression, values, token=token))
        values[":one"] = 1
        unanswered = "consecutive_unanswered + :one"
        if not response.is_missing:
            values[":zero"] = 0
            unanswered = ":zero"
        expression = (
            f"SET consecutive_unanswered = {unanswered},"
            " consecutive_failures = consecutive_failures + :one, expires_at = :expires_at,"
            " last_failure_at = :now, failing_since = {} REMOVE slots.#token"
        )
        # The condition lets the SDK's repetition of the update, whose response was lost, count nothing.
        is_held = "attribute_exists(slots.#token)"
        recent = format_timestamp(now - timedelta(seconds=self._settings.max_failure_gap_seconds))
        record = self._update(
            tenant,
            receiver_id,
            expression.format("if_not_exists(failing_since, :now)"),
            {**values, ":recent": recent},
            token=token,
            condition=f"{is_held} AND (attribute_not_exists(last_failure_at) OR last_failure_at >= :recent)",
        )
        if token in record["slots"]:
            # There was no request for days: this is another outage.
            record = self._update(
                tenant, receiver_id, expression.format(":now"), values, token=token, condition=is_held
            )
        return _health_from_record(record)

    def get(self, tenant: str, receiver_id: str) -> ReceiverHealth | None:
        record = get_record(self._client, self._table, _key(tenant, receiver_id), "read receiver")
        return _health_from_record(record) if record else None

    def reset_failures(self, tenant: str, receiver_id: str) -> None:
        if self.get(tenant, receiver_id) is not None:
            expression = "SET consecutive_unanswered = :zero, consecutive_failures = :zero"
            self._update(
                tenant, receiver_id, f"{expression} REMOVE failing_since, last_failure_at", {":zero": 0}
            )

    def _add_slot(self, tenant: str, receiver_id: str, token: str, lease_until: str) -> dict[str, Any] | None:
        """Add a slot if fewer are taken than allowed; return None, else the stored record, empty if none.

        One write is enough because the condition holds the limit for each number of unanswered requests. It
        accepts a slot of the same token, which is this write's own if the SDK repeats it.
        """
        max_concurrency = self._settings.max_concurrency
        limits = {
            f":limit{count}": calculate_allowed_concurrency(count, max_concurrency) for count in range(3)
        }
        is_below_limit = (
            "(consecutive_unanswered = :zero AND size(slots) < :limit0)"
            " OR (consecutive_unanswered = :one AND size(slots) < :limit1)"
            " OR (consecutive_unanswered > :one AND size(slots) < :limit2)"
        )
        try:
            with translate_dynamodb_errors("acquire slot"):
                self._client.update_item(
                    TableName=self._table,
                    Key=to_item(_key(tenant, receiver_id)),
                    UpdateExpression="SET slots.#token = :lease_until",
                    ConditionExpression=(
                        f"attribute_exists(slots) AND (attribute_exists(slots.#token) OR {is_below_limit})"
                    ),
                    ExpressionAttributeNames={"#token": token},
                    ExpressionAttributeValues=_to_values(
                        {":lease_until": lease_until, ":zero": 0, ":one": 1, **limits}
                    ),
                    ReturnValuesOnConditionCheckFailure="ALL_OLD",
                )
        except ConflictError as conflict:
            return get_stored_record(conflict) or {}
        return None

    def _create(self, tenant: str, receiver_id: str, now: datetime) -> None:
        """Create the receiver unless another worker has created it."""
        record = {
            "slots": {},
            "consecutive_unanswered": 0,
            "consecutive_failures": 0,
            "expires_at": self._settings.calculate_expiry(now),
        }
        with suppress(ConflictError), translate_dynamodb_errors("create receiver"):
            self._client.put_item(
                TableName=self._table,
                Item=to_item({**_key(tenant, receiver_id), **record}),
                ConditionExpression="attribute_not_exists(pk)",
            )

    def _replace_slot(
        self, tenant: str, receiver_id: str, token: str, lease_until: str, expired: tuple[str, str]
    ) -> bool:
        """Take over an expired slot, given as token and lease end; return False if it was taken over."""
        expired_token, expired_lease = expired
        try:
            with translate_dynamodb_errors("take over slot"):
                self._client.update_item(
                    TableName=self._table,
                    Key=to_item(_key(tenant, receiver_id)),
                    UpdateExpression="SET slots.#token = :lease_until REMOVE slots.#expired",
                    # The second case is this write's own effect, if the SDK repeats it.
                    ConditionExpression="slots.#expired = :expired_lease OR slots.#token = :lease_until",
                    ExpressionAttributeNames={"#token": token, "#expired": expired_token},
                    ExpressionAttributeValues=_to_values(
                        {":lease_until": lease_until, ":expired_lease": expired_lease}
                    ),
                )
        except ConflictError:
            return False
        return True

    def _update(
        self,
        tenant: str,
        receiver_id: str,
        expression: str,
        values: Mapping[str, Any],
        *,
        token: str | None = None,
        condition: str | None = None,
    ) -> dict[str, Any]:
        """Apply an update expression, in which `#token` stands for `token`.

        Returns the new record, or the stored one if it does not meet the condition.
        """
        options: dict[str, Any] = {}
        if condition is not None:
            options["ConditionExpression"] = condition
            options["ReturnValuesOnConditionCheckFailure"] = "ALL_OLD"
        if token is not None:
            options["ExpressionAttributeNames"] = {"#token": token}
        if values:
            options["ExpressionAttributeValues"] = _to_values(values)
        try:
            with translate_dynamodb_errors("update receiver"):
                response = self._client.update_item(
                    TableName=self._table,
                    Key=to_item(_key(tenant, receiver_id)),
                    UpdateExpression=expression,
                    ReturnValues="ALL_NEW",
                    **options,
                )
        except ConflictError as conflict:
            record = get_stored_record(conflict)
            if record is None:
                raise
            return record
        return from_item(response["Attributes"])


def _key(tenant: str, receiver_id: str) -> dict[str, str]:
    return {"pk": tenant_pk(tenant), "sk": f"RECEIVER#{receiver_id}"}


def _to_values(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: to_value(value) for name, value in values.items()}


def _health_from_record(record: Mapping[str, Any]) -> ReceiverHealth:
    return ReceiverHealth(
        in_flight=len(record["slots"]),
        consecutive_unanswered=record["consecutive_unanswered"],
        consecutive_failures=record["consecutive_failures"],
        failing_since=parse_optional_timestamp(record.get("failing_since")),
        last_success_at=parse_optional_timestamp(record.get("last_success_at")),
    )
