"""Budgets in DynamoDB, in the table of usage.

| pk              | sk                                | item                                               |
|-----------------|-----------------------------------|----------------------------------------------------|
| BUDGET#<tenant> | LIMITS, LIMITS#<key>              | the limits of the tenant, or of one of its keys    |
| BUDGET#<tenant> | TENANT#<start>, KEY#<key>#<start> | a window: what is spent, and that with reservations |

`start` is a day (`2026-11-26`) or a month (`2026-11`).
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from replicate_proxy.aws.batch_store import build_puts
from replicate_proxy.aws.budget_records import window_key
from replicate_proxy.aws.dynamodb import (
    batch_get_records,
    get_record,
    to_item,
    to_value,
    translate_dynamodb_errors,
)
from replicate_proxy.aws.errors import list_cancellation_codes
from replicate_proxy.budgets.model import (
    ALERT_PERCENTAGES,
    BudgetContentionError,
    BudgetExceededError,
    BudgetLimits,
    BudgetOwner,
    BudgetState,
    list_windows,
)
from replicate_proxy.errors import ConflictError, RetryableError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from types_boto3_dynamodb import DynamoDBClient
    from types_boto3_dynamodb.type_defs import TransactWriteItemTypeDef, UpdateTypeDef

    from replicate_proxy.budgets.model import BudgetWindow, Hold
    from replicate_proxy.jobs.model import Batch, Job


# A job may end some days after its window: the window must still be there.
_WINDOW_RETENTION = timedelta(days=60)
_CONTENTION = frozenset({"None", "TransactionConflict"})


class DynamoBudgetStates:
    """The BudgetStates port."""

    def __init__(self, client: DynamoDBClient, table: str) -> None:
        self._client = client
        self._table = table

    def list_states(self, owners: Sequence[BudgetOwner], now: datetime) -> list[BudgetState]:
        """Read limits and windows with one request."""
        windows = list_windows(owners, now)
        keys = [_limits_key(owner) for owner in owners]
        keys += [window_key(window.owner.tenant, window.name) for window in windows]
        records = {
            record["sk"]: record
            for record in batch_get_records(
                self._client, self._table, list(map(to_item, keys)), "read budgets", consistent=True
            )
        }
        states = []
        for window in windows:
            limits = _limits_from_record(records.get(_limits_key(window.owner)["sk"]))
            limit = limits.get(window.period) if limits else None
            if limit is not None:
                states.append(_build_state(window, limit, records.get(window.name, {})))
        return states


class DynamoBudgetedJobs(DynamoBudgetStates):
    """The BudgetedJobs port: jobs in the jobs table, reservations in the table of usage."""

    def __init__(self, client: DynamoDBClient, table: str, jobs_table: str) -> None:
        super().__init__(client, table)
        self._jobs_table = jobs_table

    def create(self, jobs: Sequence[Job], hold: Hold, *, batch: Batch | None = None) -> None:
        puts = build_puts(self._jobs_table, batch, jobs)
        items = [*puts]
        items += [self._build_reservation(state, hold.total_micro_usd) for state in hold.states]
        try:
            with translate_dynamodb_errors("create job within budget"):
                self._client.transact_write_items(TransactItems=items)
        except (ConflictError, RetryableError) as error:
            codes = list_cancellation_codes(error.__cause__)
            if "ConditionalCheckFailed" in codes[: len(puts)]:
                raise ConflictError("the job exists, or the batch has changed") from error
            if "ConditionalCheckFailed" in codes:
                raise BudgetExceededError("the reservation does not fit") from error
            if codes and set(codes) <= _CONTENTION:
                raise BudgetContentionError("the budget is being written") from error
            raise

    def record_announcement(self, state: BudgetState, percentage: int) -> None:
        window = state.window
        with translate_dynamodb_errors("record budget alert"):
            self._client.update_item(
                TableName=self._table,
                Key=to_item(window_key(window.owner.tenant, window.name)),
                UpdateExpression="SET #announced = :limit, expires_at = :expires_at",
                ExpressionAttributeNames={"#announced": _announcement(percentage)},
                ExpressionAttributeValues={
                    ":limit": to_value(state.limit_micro_usd),
                    ":expires_at": to_value(_expiry(state)),
                },
            )

    def _build_reservation(self, state: BudgetState, amount: int) -> TransactWriteItemTypeDef:
        """Return the update that reserves, if that much is left. Conditions cannot add, so the limit is less.

        The check before has found that the amount alone fits into the limit. An amount of 0 fits into every
        window, also into one that has more than its limit in it.
        """
        window = state.window
        update: UpdateTypeDef = {
            "TableName": self._table,
            "Key": to_item(window_key(window.owner.tenant, window.name)),
            "UpdateExpression": "SET expires_at = :expires_at ADD committed :amount",
            "ExpressionAttributeValues": {
                ":amount": to_value(amount),
                ":expires_at": to_value(_expiry(state)),
            },
        }
        if amount:
            most = to_value(state.limit_micro_usd - amount)
            update["ConditionExpression"] = "attribute_not_exists(committed) OR committed <= :most"
            update["ExpressionAttributeValues"] = {**update["ExpressionAttributeValues"], ":most": most}
        return {"Update": update}


class DynamoBudgetStore(DynamoBudgetStates):
    """The BudgetStore port."""

    def get_limits(self, owner: BudgetOwner) -> BudgetLimits | None:
        record = get_record(self._client, self._table, _limits_key(owner), "read budget")
        return _limits_from_record(record) if record else None

    def find_budget(self, tenant: str, key_id: str) -> bool:
        """Return whether the key or its tenant has a budget."""
        keys = [to_item(_limits_key(owner)) for owner in (BudgetOwner(tenant), BudgetOwner(tenant, key_id))]
        return bool(batch_get_records(self._client, self._table, keys, "find budget", consistent=True))

    def put_limits(self, owner: BudgetOwner, limits: BudgetLimits) -> None:
        record = {
            **_limits_key(owner),
            "day_limit": limits.day_micro_usd,
            "month_limit": limits.month_micro_usd,
        }
        with translate_dynamodb_errors("save budget"):
            self._client.put_item(TableName=self._table, Item=to_item(record))

    def delete_limits(self, owner: BudgetOwner) -> None:
        with translate_dynamodb_errors("delete budget"):
            self._client.delete_item(TableName=self._table, Key=to_item(_limits_key(owner)))


def _build_state(window: BudgetWindow, limit: int, record: Mapping[str, Any]) -> BudgetState:
    announced = [
        percentage for percentage in ALERT_PERCENTAGES if record.get(_announcement(percentage)) == limit
    ]
    return BudgetState(
        window, limit, record.get("committed", 0), record.get("spent", 0), frozenset(announced)
    )


def _announcement(percentage: int) -> str:
    """Return the attribute that has the limit of which that percentage was announced."""
    return f"announced_{percentage}"


def _expiry(state: BudgetState) -> int:
    return int((state.window.resets_at + _WINDOW_RETENTION).timestamp())


def _limits_key(owner: BudgetOwner) -> dict[str, str]:
    sk = "LIMITS" if owner.key_id is None else f"LIMITS#{owner.key_id}"
    return {"pk": f"BUDGET#{owner.tenant}", "sk": sk}


def _limits_from_record(record: Mapping[str, Any] | None) -> BudgetLimits | None:
    if record is None:
        return None
    return BudgetLimits(day_micro_usd=record.get("day_limit"), month_micro_usd=record.get("month_limit"))
