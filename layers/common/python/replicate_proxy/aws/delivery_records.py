"""Keys of the deliveries table, and its records. Pure.

| pk                  | sk                                   | what                                         |
|---------------------|--------------------------------------|----------------------------------------------|
| TENANT#<tenant>     | ENDPOINT#<endpoint>                  | a registered endpoint and its secrets        |
| TENANT#<tenant>     | SECRET                               | the tenant's default signing secrets         |
| TENANT#<tenant>     | LANE#<lane>                          | a receiver: requests under way, health       |
| JOB#<tenant>#<job>  | EVENT#<sequence>                     | an event of a job with its rendered body     |
| JOB#<tenant>#<job>  | DELIVERY#<target>#<sequence>         | that event on its way to one target          |
| JOB#<tenant>#<job>  | ATTEMPT#<target>#<sequence>#<number> | one request that was sent                    |

Index `by_due` (due_shard `DUE#<n>`, due_at): pending deliveries by when the sweep must look. Index
`by_endpoint` (endpoint, at): `DELIVERY#<target>#<tenant>` by creation and `ATTEMPT#<target>#<tenant>` by
time. Sequences are padded to twelve digits, so that text order is their order. Jobs and targets hold no `#`;
a tenant stands last or before a part that holds none, so that no two keys meet. The tenant is part of every
key: a foreign id finds nothing.
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
from replicate_proxy.webhooks.model import (
    Attempt,
    Delivery,
    DeliveryStatus,
    Ending,
    EventKind,
    StoredEvent,
    Verdict,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


def tenant_pk(tenant: str) -> str:
    return f"TENANT#{tenant}"


def job_pk(tenant: str, job_id: str) -> str:
    return f"JOB#{tenant}#{job_id}"


def event_key(tenant: str, job_id: str, sequence: int) -> dict[str, str]:
    return {"pk": job_pk(tenant, job_id), "sk": f"EVENT#{sequence:012}"}


def delivery_prefix(target: str) -> str:
    return f"DELIVERY#{target}#"


def delivery_key(tenant: str, job_id: str, sequence: int, target: str) -> dict[str, str]:
    return {"pk": job_pk(tenant, job_id), "sk": f"{delivery_prefix(target)}{sequence:012}"}


def attempt_prefix(sequence: int, target: str) -> str:
    return f"ATTEMPT#{target}#{sequence:012}#"


def deliveries_index(tenant: str, target: str) -> str:
    return f"DELIVERY#{target}#{tenant}"


def attempts_index(tenant: str, target: str) -> str:
    return f"ATTEMPT#{target}#{tenant}"


def due_shard(delivery: Delivery, shards: int) -> str:
    return f"DUE#{crc32(delivery.id.encode()) % shards}"


def event_record(event: StoredEvent) -> dict[str, Any]:
    return {
        **event_key(event.tenant, event.job_id, event.sequence),
        "tenant": event.tenant,
        "job_id": event.job_id,
        "sequence": event.sequence,
        "kind": event.kind.value,
        "message_id": event.message_id,
        "created_at": format_timestamp(event.created_at),
        "body_text": event.body.text,
        "body_ref": event.body.object_key,
        "expires_at": event.expires_at,
    }


def event_of(record: Mapping[str, Any]) -> StoredEvent:
    return StoredEvent(
        tenant=record["tenant"],
        job_id=record["job_id"],
        sequence=record["sequence"],
        kind=EventKind(record["kind"]),
        message_id=record["message_id"],
        created_at=parse_timestamp(record["created_at"]),
        body=Document(text=record.get("body_text"), object_key=record.get("body_ref")),
        expires_at=record["expires_at"],
    )


_DELIVERY_PLAIN = (
    "tenant",
    "job_id",
    "sequence",
    "target",
    "message_id",
    "url",
    "expires_at",
    "tries",
    "attempts",
    "correlation_id",
    "rev",
)
_DELIVERY_TIMES = ("created_at", "next_attempt_at", "due_at", "lease_until", "queued_at", "finished_at")


def delivery_record(delivery: Delivery, *, shards: int) -> dict[str, Any]:
    return {
        **delivery_key(delivery.tenant, delivery.job_id, delivery.sequence, delivery.target),
        "endpoint": deliveries_index(delivery.tenant, delivery.target),
        "at": format_timestamp(delivery.created_at),
        "due_shard": due_shard(delivery, shards) if delivery.due_at else None,
        "kind": delivery.kind.value,
        "status": delivery.status.value,
        "verdict": delivery.verdict.value if delivery.verdict else None,
        "ending": delivery.ending.value if delivery.ending else None,
        **{name: getattr(delivery, name) for name in _DELIVERY_PLAIN},
        **{name: format_optional_timestamp(getattr(delivery, name)) for name in _DELIVERY_TIMES},
    }


def delivery_of(record: Mapping[str, Any]) -> Delivery:
    return Delivery(
        kind=EventKind(record["kind"]),
        status=DeliveryStatus(record["status"]),
        verdict=Verdict(record["verdict"]) if record.get("verdict") else None,
        ending=Ending(record["ending"]) if record.get("ending") else None,
        **_picked(record, _DELIVERY_PLAIN),
        **_times(record, _DELIVERY_TIMES),
    )


_ATTEMPT_PLAIN = (
    "tenant",
    "job_id",
    "sequence",
    "target",
    "number",
    "duration_ms",
    "status",
    "error",
    "answer",
    "expires_at",
)


def attempt_record(attempt: Attempt) -> dict[str, Any]:
    sk = f"{attempt_prefix(attempt.sequence, attempt.target)}{attempt.number:04}"
    return {
        "pk": job_pk(attempt.tenant, attempt.job_id),
        "sk": sk,
        "endpoint": attempts_index(attempt.tenant, attempt.target),
        "at": format_timestamp(attempt.at),
        "verdict": attempt.verdict.value,
        "next_attempt_at": format_optional_timestamp(attempt.next_attempt_at),
        **{name: getattr(attempt, name) for name in _ATTEMPT_PLAIN},
    }


def attempt_of(record: Mapping[str, Any]) -> Attempt:
    return Attempt(
        at=parse_timestamp(record["at"]),
        verdict=Verdict(record["verdict"]),
        **_picked(record, _ATTEMPT_PLAIN),
        **_times(record, ("next_attempt_at",)),
    )


def _picked(record: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    return {name: record.get(name) for name in names}


def _times(record: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    return {name: parse_optional_timestamp(record.get(name)) for name in names}
