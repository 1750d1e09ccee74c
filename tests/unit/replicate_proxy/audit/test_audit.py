"""The audit trail: what is recorded when changes succeed, fail and crash, and what its verification finds."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import pytest

from replicate_proxy.audit.actor import acting_as
from replicate_proxy.audit.log import StoredAuditLog
from replicate_proxy.audit.model import (
    Actor,
    AuditAction,
    AuditFilter,
    AuditSource,
    ChainHead,
    build_record,
    calculate_hash,
)
from replicate_proxy.audit.trail import AuditTrail
from replicate_proxy.aws.audit_store import DynamoAuditStore
from replicate_proxy.aws.dynamodb import from_item, to_item
from replicate_proxy.errors import ConflictError, RetryableError, UnknownNameError
from tests.support.aws import AUDIT_TABLE, create_in_memory_aws
from tests.support.clock import FakeClock

if TYPE_CHECKING:
    from collections.abc import Callable

    from replicate_proxy.audit.model import AuditRecord
    from replicate_proxy.audit.trail import Verification

OPERATOR = Actor(key_id="op", source=AuditSource.CONSOLE, correlation_id="c1")


class CrashError(BaseException):
    """The end of a process."""


class Trail:
    """An audit trail, and the table behind it."""

    def __init__(self) -> None:
        self.client = create_in_memory_aws().client("dynamodb")
        self.store = DynamoAuditStore(self.client, AUDIT_TABLE)
        self.clock = FakeClock()
        self.log = StoredAuditLog(
            self.store, find_key_name={"op": "Olga"}.__getitem__, clock=self.clock, sleep=self.clock.advance
        )
        self.trail = AuditTrail(self.store, self.log.close_abandoned)

    def change(self, after: Any = None, *, error: BaseException | None = None, **details: Any) -> None:
        with (
            acting_as(OPERATOR),
            self.log.change(AuditAction.UPDATE_KEY, "keys/k1", before={"n": 1}, **details) as change,
        ):
            change.after = after
            if error is not None:
                raise error

    def list_records(self) -> list[AuditRecord]:
        return list(self.trail.list_records(AuditFilter(), before_position=None, limit=100).records)

    def verify_all(self, limit: int) -> Verification:
        position = None
        while True:
            verification = self.trail.verify(after_position=position, limit=limit)
            position = verification.next_position
            if position is None:
                return verification

    def read_stored(self, sequence: int) -> dict[str, Any]:
        (stored,) = [record for record in map(from_item, self._query()) if record["sequence"] == sequence]
        return stored

    def _query(self) -> list[Any]:
        return list(
            self.client.query(
                TableName=AUDIT_TABLE,
                KeyConditionExpression="pk = :pk",
                ExpressionAttributeValues={":pk": {"S": "CHAIN"}},
            )["Items"]
        )

    def put(self, stored: dict[str, Any]) -> None:
        self.client.put_item(TableName=AUDIT_TABLE, Item=to_item(stored))

    def remove(self, sequence: int) -> None:
        stored = self.read_stored(sequence)
        self.client.delete_item(TableName=AUDIT_TABLE, Key=to_item({"pk": stored["pk"], "sk": stored["sk"]}))


@pytest.fixture
def trail() -> Trail:
    return Trail()


def test_change_is_recorded_with_who_what_before_and_after(trail: Trail) -> None:
    trail.change({"n": 2}, tenant="acme", parameters={"overlap_seconds": 60})

    (record,) = trail.list_records()
    assert (record.key_id, record.key_name, record.source) == ("op", "Olga", "console")
    assert (record.action, record.target, record.tenant) == ("key.update", "keys/k1", "acme")
    assert (record.started_at, record.at) == ("2026-01-31T09:30:00.000Z", "2026-01-31T09:30:00.000Z")
    assert json.loads(record.before) == {"n": 1}
    assert json.loads(record.after) == {"n": 2}
    assert json.loads(record.parameters) == {"overlap_seconds": 60}
    assert (record.outcome, record.error, record.correlation_id) == ("succeeded", "", "c1")


@pytest.mark.parametrize(
    ("error", "outcome", "text"),
    [
        (UnknownNameError("no such key"), "refused", "UnknownNameError: no such key"),
        (ConflictError("too often"), "refused", "ConflictError: too often"),
        (RetryableError("no response"), "unknown", "RetryableError: no response"),
        (KeyError("secret"), "unknown", "KeyError: "),
    ],
)
def test_failed_change_is_recorded_with_its_error(
    trail: Trail, error: Exception, outcome: str, text: str
) -> None:
    with pytest.raises(type(error)):
        trail.change(error=error)

    (record,) = trail.list_records()
    assert (record.outcome, record.error) == (outcome, text)


def test_crash_leaves_an_intent_that_is_closed_as_unknown(trail: Trail) -> None:
    with pytest.raises(CrashError):
        trail.change({"n": 2}, error=CrashError())
    assert trail.list_records() == []

    trail.clock.advance(121)

    (record,) = trail.list_records()
    assert (record.outcome, json.loads(record.before), json.loads(record.after)) == (
        "unknown",
        {"n": 1},
        None,
    )
    assert record.started_at < record.at


def test_next_change_closes_abandoned_ones_first(trail: Trail) -> None:
    with pytest.raises(CrashError):
        trail.change(error=CrashError())
    trail.clock.advance(121)

    trail.change({"n": 3})

    assert [record.outcome for record in trail.list_records()] == ["succeeded", "unknown"]


def test_change_without_actor_is_not_made(trail: Trail) -> None:
    with pytest.raises(RuntimeError), trail.log.change(AuditAction.PAUSE, "predictions"):
        pytest.fail("the change was made")


def test_change_whose_intent_cannot_be_stored_is_not_made(
    trail: Trail, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: object) -> None:
        raise RetryableError("the table cannot be reached")

    monkeypatch.setattr(trail.store, "begin", refuse)
    with acting_as(OPERATOR), pytest.raises(RetryableError), trail.log.change(AuditAction.PAUSE, "x"):
        pytest.fail("the change was made")


def test_change_succeeds_although_its_record_cannot_be_written(
    trail: Trail, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: object) -> None:
        raise RetryableError("the table cannot be reached")

    with monkeypatch.context() as outage:
        outage.setattr(trail.store, "append", refuse)
        trail.change({"n": 2})
    trail.clock.advance(121)

    (record,) = trail.list_records()
    assert record.outcome == "unknown"


def test_concurrent_changes_are_all_recorded(trail: Trail) -> None:
    append = trail.store.append
    others = iter(range(3))

    def append_after_another(record: AuditRecord) -> None:
        if next(others, None) is not None:
            trail.change({"n": "another"})
        append(record)

    trail.store.append = append_after_another  # type: ignore[method-assign] # this test only
    trail.change({"n": 2})

    assert [record.sequence for record in trail.list_records()] == [4, 3, 2, 1]
    assert trail.verify_all(10).is_valid


def test_large_states_are_replaced_by_their_digest(trail: Trail) -> None:
    trail.change({"text": "x" * 20_000})

    (record,) = trail.list_records()
    assert json.loads(record.after)["omitted"]["bytes"] > 20_000


def test_records_are_not_older_than_their_predecessors(trail: Trail) -> None:
    trail.change()
    trail.clock.advance(-60)
    trail.change()

    newest, oldest = trail.list_records()
    assert (newest.sequence, newest.at) == (2, oldest.at)


def tamper_changed(trail: Trail) -> None:
    trail.put({**trail.read_stored(3), "key_id": "another key"})


def tamper_changed_with_new_hash(trail: Trail) -> None:
    (record,) = [record for record in trail.list_records() if record.sequence == 3]
    values = {**asdict(record), "key_id": "another key"}
    trail.put({**trail.read_stored(3), **values, "hash": calculate_hash(values)})


def tamper_removed(trail: Trail) -> None:
    trail.remove(3)


def tamper_first_removed(trail: Trail) -> None:
    trail.remove(1)


def tamper_last_removed(trail: Trail) -> None:
    trail.remove(5)


def tamper_inserted(trail: Trail) -> None:
    stored = trail.read_stored(3)
    trail.put({**stored, "sk": f"{stored['sk']}-2"})


def tamper_appended(trail: Trail) -> None:
    stored = trail.read_stored(5)
    trail.put({**stored, "sk": f"{stored['at']}#0000000006", "sequence": 6})


@pytest.mark.parametrize("limit", [1, 2, 100])
@pytest.mark.parametrize(
    ("tamper", "sequence"),
    [
        (tamper_changed, 3),
        (tamper_changed_with_new_hash, 4),
        (tamper_removed, 4),
        (tamper_first_removed, 2),
        (tamper_last_removed, 4),
        (tamper_inserted, 3),
        (tamper_appended, 6),
    ],
)
def test_verification_finds_what_was_tampered_with(
    trail: Trail, tamper: Callable[[Trail], None], sequence: int, limit: int
) -> None:
    for number in range(5):
        trail.change({"n": number})
        trail.clock.advance(1)
    assert trail.verify_all(limit).is_valid

    tamper(trail)

    verification = trail.verify_all(limit)
    assert (verification.is_valid, verification.sequence) == (False, sequence)


def test_appended_record_with_valid_hash_is_found(trail: Trail) -> None:
    trail.change()
    (record,) = trail.list_records()
    forged = build_record(
        record,
        ChainHead(1, record.at, record.hash),
        now=record.at,
        after="null",
        outcome="succeeded",
        error="",
    )
    trail.put({"pk": "CHAIN", "sk": f"{forged.at}#0000000002", **asdict(forged)})

    verification = trail.verify_all(100)
    assert (verification.is_valid, verification.sequence) == (False, 2)


def test_empty_chain_is_valid(trail: Trail) -> None:
    verification = trail.verify_all(10)
    assert (verification.is_valid, verification.checked, verification.head.sequence) == (True, 0, 0)
