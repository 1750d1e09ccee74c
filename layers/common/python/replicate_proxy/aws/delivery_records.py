"""Keys of the deliveries table, and its records. No I/O.

| pk                  | sk                                   | record                                       |
|---------------------|--------------------------------------|----------------------------------------------|
| TENANT#<tenant>     | ENDPOINT#<endpoint>                  | a registered endpoint and its secrets        |
| TENANT#<tenant>     | SECRET                               | the tenant's default signing secrets         |
| TENANT#<tenant>     | RECEIVER#<receiver>                  | a receiver: requests in flight, health       |
| JOB#<tenant>#<job>  | EVENT#<sequence>                     | an event of a job with its rendered body     |
| JOB#<tenant>#<job>  | DELIVERY#<target>#<sequence>         | that event on its way to one target          |
| JOB#<tenant>#<job>  | ATTEMPT#<target>#<sequence>#<number> | one request                                  |

Index `by_due` (due_shard, due_at): pending deliveries by the time at which the sweep enqueues them, and
endpoints by the time at which it searches for what they missed; the shard is `DUE#<n>`. Index `by_target`
(target_key, at): `DELIVERY#<target>#<tenant>` by creation time and `ATTEMPT#<target>#<tenant>` by the time of
the request.

Sequences are padded to twelve digits, so that text order is their order. Job IDs and targets contain no `#`,
and a tenant stands last or before a part without `#`, so that no two keys collide. The tenant is part of
every key: another tenant's ID finds nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from zlib import crc32

from replicate_proxy.clock import (
    format_optional_timestamp,
    format_timestamp,
    parse_optional_timestamp,
    parse_timestamp,
)
from replicate_proxy.jobs.model import Document
from replicate_proxy.webhooks.commands import DeliverCommand
from replicate_proxy.webhooks.model import (
    Attempt,
    AttemptResult,
    Delivery,
    DeliveryStatus,
    ErrorCode,
    EventKind,
    FailureReason,
    StoredEvent,
)
from replicate_proxy.webhooks.ports import DueDelivery, DueEndpoint

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


_DELIVERY_FIELDS = (
    "tenant",
    "job_id",
    "sequence",
    "target",
    "message_id",
    "url",
    "expires_at",
    "schedule_attempts",
    "total_attempts",
    "correlation_id",
    "revision",
)
_DELIVERY_TIMES = (
    "created_at",
    "next_attempt_at",
    "due_at",
    "lease_until",
    "paused_since",
    "schedule_started_at",
    "finished_at",
)
_ATTEMPT_FIELDS = (
    "tenant",
    "job_id",
    "sequence",
    "target",
    "number",
    "duration_ms",
    "status",
    "response_body",
    "expires_at",
)


ENDPOINT_PREFIX = "ENDPOINT#"


def tenant_pk(tenant: str) -> str:
    return f"TENANT#{tenant}"


def job_pk(tenant: str, job_id: str) -> str:
    return f"JOB#{tenant}#{job_id}"


def event_key(tenant: str, job_id: str, sequence: int) -> dict[str, str]:
    return {"pk": job_pk(tenant, job_id), "sk": f"EVENT#{sequence:012}"}


def delivery_prefix(target: str) -> str:
    return f"DELIVERY#{target}#"


def delivery_sk(target: str, sequence: int) -> str:
    return f"{delivery_prefix(target)}{sequence:012}"


def delivery_key(tenant: str, job_id: str, sequence: int, target: str) -> dict[str, str]:
    return {"pk": job_pk(tenant, job_id), "sk": delivery_sk(target, sequence)}


def attempt_prefix(target: str, sequence: int) -> str:
    return f"ATTEMPT#{target}#{sequence:012}#"


def deliveries_target_key(tenant: str, target: str) -> str:
    return f"DELIVERY#{target}#{tenant}"


def attempts_target_key(tenant: str, target: str) -> str:
    return f"ATTEMPT#{target}#{tenant}"


def due_shard_key(shard: int) -> str:
    return f"DUE#{shard}"


def record_from_event(event: StoredEvent) -> dict[str, Any]:
    return {
        **event_key(event.tenant, event.job_id, event.sequence),
        "tenant": event.tenant,
        "job_id": event.job_id,
        "sequence": event.sequence,
        "kind": event.kind.value,
        "message_id": event.message_id,
        "created_at": format_timestamp(event.created_at),
        "body_text": event.body.text,
        "body_object_key": event.body.object_key,
        "private_folder": event.private_folder,
        "expires_at": event.expires_at,
    }


def event_from_record(record: Mapping[str, Any]) -> StoredEvent:
    return StoredEvent(
        tenant=record["tenant"],
        job_id=record["job_id"],
        sequence=record["sequence"],
        kind=EventKind(record["kind"]),
        message_id=record["message_id"],
        created_at=parse_timestamp(record["created_at"]),
        body=Document(text=record.get("body_text"), object_key=record.get("body_object_key")),
        expires_at=record["expires_at"],
        private_folder=record.get("private_folder"),
    )


def record_from_delivery(delivery: Delivery, *, due_shards: int) -> dict[str, Any]:
    """Return the record. Only a delivery with a due time is in the due index, in one of its shards."""
    shard = crc32(delivery.id.encode()) % due_shards
    return {
        **delivery_key(delivery.tenant, delivery.job_id, delivery.sequence, delivery.target),
        "target_key": deliveries_target_key(delivery.tenant, delivery.target),
        "at": format_timestamp(delivery.created_at),
        "due_shard": due_shard_key(shard) if delivery.due_at else None,
        "kind": delivery.kind.value,
        "status": delivery.status.value,
        "last_result": delivery.last_result.value if delivery.last_result else None,
        "failure_reason": delivery.failure_reason.value if delivery.failure_reason else None,
        "paused_seconds": delivery.paused_seconds or None,
        **{name: getattr(delivery, name) for name in _DELIVERY_FIELDS},
        **{name: format_optional_timestamp(getattr(delivery, name)) for name in _DELIVERY_TIMES},
    }


def delivery_from_record(record: Mapping[str, Any]) -> Delivery:
    last_result, failure_reason = record.get("last_result"), record.get("failure_reason")
    times: dict[str, Any] = {name: parse_optional_timestamp(record.get(name)) for name in _DELIVERY_TIMES}
    return Delivery(
        paused_seconds=record.get("paused_seconds") or 0,
        kind=EventKind(record["kind"]),
        status=DeliveryStatus(record["status"]),
        last_result=AttemptResult(last_result) if last_result else None,
        failure_reason=FailureReason(failure_reason) if failure_reason else None,
        **_select(record, _DELIVERY_FIELDS),
        **times,
    )


def due_row_from_record(record: Mapping[str, Any]) -> DueDelivery | DueEndpoint:
    """Return the delivery or endpoint of a row of the due index, which holds keys only."""
    due_at = parse_timestamp(record["due_at"])
    if record["sk"].startswith(ENDPOINT_PREFIX):
        tenant, endpoint_id = record["pk"].removeprefix("TENANT#"), record["sk"].removeprefix(ENDPOINT_PREFIX)
        return DueEndpoint(tenant, endpoint_id, due_at)
    tenant, _, job_id = record["pk"].removeprefix("JOB#").rpartition("#")
    target, _, sequence = record["sk"].removeprefix("DELIVERY#").rpartition("#")
    command = DeliverCommand(tenant=tenant, job_id=job_id, sequence=int(sequence), target=target)
    return DueDelivery(command, due_at)


def record_from_attempt(attempt: Attempt) -> dict[str, Any]:
    return {
        "pk": job_pk(attempt.tenant, attempt.job_id),
        "sk": f"{attempt_prefix(attempt.target, attempt.sequence)}{attempt.number:04}",
        "target_key": attempts_target_key(attempt.tenant, attempt.target),
        "at": format_timestamp(attempt.sent_at),
        "result": attempt.result.value,
        "error_code": attempt.error_code.value if attempt.error_code else None,
        "next_attempt_at": format_optional_timestamp(attempt.next_attempt_at),
        **{name: getattr(attempt, name) for name in _ATTEMPT_FIELDS},
    }


def attempt_from_record(record: Mapping[str, Any]) -> Attempt:
    error_code = record.get("error_code")
    return Attempt(
        sent_at=parse_timestamp(record["at"]),
        result=AttemptResult(record["result"]),
        error_code=ErrorCode(error_code) if error_code else None,
        next_attempt_at=parse_optional_timestamp(record.get("next_attempt_at")),
        **_select(record, _ATTEMPT_FIELDS),
    )


def _select(record: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    return {name: record.get(name) for name in names}
