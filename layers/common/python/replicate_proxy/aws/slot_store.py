"""Slots in the control table, beside the lines in the jobs table (`aws.line_store`).

| pk              | item                                                    |
|-----------------|---------------------------------------------------------|
| SLOTS#<limit>   | `holders` with their revisions, `has_line`              |
| SLOTS           | `line_names`: limits that jobs may be waiting for       |
"""

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
from replicate_proxy.aws.line_store import DynamoLineStore
from replicate_proxy.concurrency.model import Slots
from replicate_proxy.errors import ConflictError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from types_boto3_dynamodb import DynamoDBClient

    from replicate_proxy.concurrency.model import Limit, WaitingJob

_LINES = "SLOTS"
# What dispatch overwrites by the revision of the job's record, which is at least 1.
_GRANTED = 0


class DynamoSlotStore:
    """The SlotStore port on the control table and the jobs table."""

    def __init__(self, client: DynamoDBClient, *, control_table: str, jobs_table: str) -> None:
        self._client = client
        self._table = control_table
        self._lines = DynamoLineStore(client, jobs_table)

    def acquire(self, limit: Limit, holder: str, revision: int) -> bool:
        stored = self._try_acquire(limit, holder, revision)
        if stored is not None and "holders" not in stored:
            self._update(_slots_key(limit.name), "SET holders = if_not_exists(holders, :none)", {":none": {}})
            stored = self._try_acquire(limit, holder, revision)
        # A slot of a later revision: the claim of this one will find that it is late.
        return stored is None or holder in stored.get("holders", {})

    def _try_acquire(self, limit: Limit, holder: str, revision: int) -> dict[str, Any] | None:
        """Return None for success, else the stored record."""
        condition = (
            "holders.#holder <= :revision OR (attribute_exists(holders)"
            " AND attribute_not_exists(holders.#holder) AND attribute_not_exists(has_line)"
            " AND size(holders) < :max)"
        )
        try:
            self._update(
                _slots_key(limit.name),
                "SET holders.#holder = :revision",
                {":revision": revision, ":max": limit.max_concurrency},
                condition=condition,
                names={"#holder": holder},
            )
        except ConflictError as conflict:
            return get_stored_record(conflict) or {}
        return None

    def grant(self, limit: Limit, holders: Sequence[str]) -> bool:
        # Short ones: an expression has at most 4 kB (Amazon DynamoDB, constraints), and there may be 100.
        names = {f"#{index}": holder for index, holder in enumerate(holders)}
        condition = " AND ".join(
            ["size(holders) <= :most", *(f"attribute_not_exists(holders.{name})" for name in names)]
        )
        try:
            self._update(
                _slots_key(limit.name),
                "SET " + ", ".join(f"holders.{name} = :granted" for name in names),
                {":granted": _GRANTED, ":most": limit.max_concurrency - len(holders)},
                condition=f"attribute_exists(holders) AND {condition}",
                names=names,
            )
        except ConflictError:
            return False
        return True

    def release(self, limit_name: str, holder: str, *, up_to_revision: int) -> Slots:
        try:
            record = self._update(
                _slots_key(limit_name),
                "REMOVE holders.#holder",
                {":revision": up_to_revision},
                condition="holders.#holder <= :revision",
                names={"#holder": holder},
            )
        except ConflictError as conflict:
            record = get_stored_record(conflict) or {}
        return _slots_from_record(record)

    def read(self, limit_name: str) -> Slots:
        record = get_record(self._client, self._table, _slots_key(limit_name), "read slots")
        return _slots_from_record(record)

    def join_line(self, limit_name: str, job: WaitingJob) -> None:
        # First, so that a job is found in the line whose insertion is not confirmed.
        self._open_line(limit_name)
        self._lines.insert(limit_name, job)
        if not self.read(limit_name).has_line:
            self._open_line(limit_name)

    def leave_line(self, limit_name: str, jobs: Sequence[WaitingJob]) -> None:
        self._lines.delete_jobs(limit_name, jobs)

    def forget(self, limit_name: str, jobs: Sequence[WaitingJob]) -> None:
        record = get_record(self._client, self._table, _slots_key(limit_name), "read slots")
        if not record:
            # Who joins a line opens it before.
            return
        self.leave_line(limit_name, jobs)
        holders = _slots_from_record(record).holders
        for holder in holders.keys() & {job.holder for job in jobs}:
            self.release(limit_name, holder, up_to_revision=holders[holder])

    def list_line(self, limit_name: str, *, count: int) -> list[WaitingJob]:
        return self._lines.list_jobs_in_line(limit_name, count)

    def count_ahead(self, limit_name: str, position: str, *, at_most: int) -> int:
        return self._lines.count_ahead(limit_name, position, at_most=at_most)

    def close_line(self, limit_name: str) -> None:
        self._update({"pk": _LINES}, "DELETE line_names :names", {":names": {limit_name}})
        self._update(_slots_key(limit_name), "REMOVE has_line", {})
        # Who joins looks whether the line is open after that: a job is seen here, or it opens the line again.
        if self.list_line(limit_name, count=1):
            self._open_line(limit_name)

    def list_lines(self) -> list[str]:
        record = get_record(self._client, self._table, {"pk": _LINES}, "list lines")
        names: set[str] = record.get("line_names", set())
        return sorted(names)

    def _open_line(self, limit_name: str) -> None:
        """Record that jobs wait: for those who would overtake them, and for the sweep.

        In this order, the reverse of that of `close_line`, the sweep knows of each line that is found open.
        """
        self._update(_slots_key(limit_name), "SET has_line = :yes", {":yes": True})
        self._update({"pk": _LINES}, "ADD line_names :names", {":names": {limit_name}})

    def _update(
        self,
        key: Mapping[str, Any],
        expression: str,
        values: Mapping[str, Any],
        *,
        condition: str | None = None,
        names: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """Return the updated record. Raises ConflictError, which has the stored record."""
        options: dict[str, Any] = {}
        if values:
            options["ExpressionAttributeValues"] = {name: to_value(value) for name, value in values.items()}
        if condition is not None:
            options["ConditionExpression"] = condition
            options["ReturnValuesOnConditionCheckFailure"] = "ALL_OLD"
        if names is not None:
            options["ExpressionAttributeNames"] = dict(names)
        with translate_dynamodb_errors("update slots"):
            response = self._client.update_item(
                TableName=self._table,
                Key=to_item(key),
                UpdateExpression=expression,
                ReturnValues="ALL_NEW",
                **options,
            )
        return from_item(response["Attributes"])


def _slots_key(limit_name: str) -> dict[str, str]:
    return {"pk": f"SLOTS#{limit_name}"}


def _slots_from_record(record: Mapping[str, Any]) -> Slots:
    return Slots(record.get("holders", {}), bool(record.get("has_line")))
