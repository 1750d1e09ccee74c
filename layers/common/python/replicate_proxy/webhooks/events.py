"""From a change of a job to the events an application hears of. Pure.

Replicate docs, webhooks: `start` when a prediction starts, `output` when it gives output, `logs` when it
logs, `completed` at the end; without a filter `output` and `completed`. Our `output` comes once, when the
output is final.

The body of an event: the prediction as our GET returns it, rendered once. Pure.

The bus event of a job whose client-visible status changed. Pure.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from replicate_proxy.contracts.events import Event, EventName, EventSource
from replicate_proxy.contracts.predictions import PREDICTION_STATUS
from replicate_proxy.jobs.model import Job, JobStatus
from replicate_proxy.webhooks.model import EventKind

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime


DEFAULT_EVENTS = (EventKind.OUTPUT, EventKind.COMPLETED)
_ORDER = (EventKind.START, EventKind.LOGS, EventKind.OUTPUT, EventKind.COMPLETED)


@dataclass(frozen=True, slots=True)
class JobEvent:
    """One event of a job. `sequence` grows within the job (not by ones); `message_id` is the `webhook-id`."""

    kind: EventKind
    sequence: int
    message_id: str


def events_of(old: Job | None, new: Job) -> tuple[JobEvent, ...]:
    """The events between two records of one job, in order; the same two records give the same events."""
    if old is not None and old.is_terminal:
        return ()
    happened = {
        EventKind.START: _has_started(new) and not (old is not None and _has_started(old)),
        EventKind.LOGS: new.logs is not None and new.logs != (old.logs if old is not None else None),
        EventKind.OUTPUT: new.status is JobStatus.SUCCEEDED and new.output is not None,
        EventKind.COMPLETED: new.is_terminal,
    }
    return tuple(_event(new, kind) for kind in _ORDER if happened[kind])


def wants(job: Job, kind: EventKind) -> bool:
    """Whether the prediction's own webhook asked for this event."""
    return kind in (job.webhook_events or DEFAULT_EVENTS)


def sequence_of(rev: int, kind: EventKind) -> int:
    """From the job's revision, so that a replayed stream record gives the same number."""
    return rev * len(_ORDER) + _ORDER.index(kind)


def message_id(tenant: str, job_id: str, kind: EventKind, sequence: int) -> str:
    """`msg_` and 32 hex digits: the event's identity through retries, redeliveries and stream replays."""
    identity = "\n".join((tenant, job_id, kind, str(sequence)))
    return f"msg_{hashlib.sha256(identity.encode()).hexdigest()[:32]}"


def _event(job: Job, kind: EventKind) -> JobEvent:
    sequence = sequence_of(job.revision, kind)
    return JobEvent(kind, sequence, message_id(job.tenant, job.id, kind, sequence))


def _has_started(job: Job) -> bool:
    """Visible as `processing` now, or ended after Replicate had started it."""
    return PREDICTION_STATUS[job.status] == "processing" or (job.is_terminal and job.started_at is not None)


_ENDS = ("completed_at", "metrics")
# What a body can do without, the least missed first: the caller knows the input, and GET has it all.
_OMITTABLE: tuple[tuple[str, Any], ...] = (("input", {}), ("logs", ""), ("output", None))


def body_text(view: Mapping[str, Any], event: JobEvent, *, limit: int) -> str:
    """JSON text of at most `limit` bytes as far as leaving out input, logs and output can make it so.

    `proxy.event` and `proxy.sequence` say which event this is, under the signature; `proxy.omitted` what was
    left out.
    """
    body = _as_of(event.kind, dict(view))
    proxy = {**(view.get("proxy") or {}), "event": event.kind.value, "sequence": event.sequence}
    omitted: list[str] = []
    text = _json({**body, "proxy": proxy})
    if len(text.encode()) > limit:
        # The files of a job with hundreds of them are as long as its output.
        proxy = {**proxy, "files": []}
    for name, nothing in _OMITTABLE:
        if len(text.encode()) <= limit:
            break
        body = {**body, name: nothing}
        omitted.append(name)
        text = _json({**body, "proxy": {**proxy, "omitted": list(omitted)}})
    return text


def _as_of(kind: EventKind, view: dict[str, Any]) -> dict[str, Any]:
    """The view set back to the event's moment, where the record had moved on by the time it was seen.

    Only `completed` says that a prediction is over: receivers act on a terminal status, and would act twice
    if `output`, which is due at the same moment, showed it too. Replicate's own `output` reads `processing`
    as well.
    """
    if kind is EventKind.COMPLETED or view["status"] in {"starting", "processing"}:
        return view
    earlier = {name: value for name, value in view.items() if name not in _ENDS}
    output = view["output"] if kind is EventKind.OUTPUT else None
    return {**earlier, "status": "processing", "error": None, "output": output}


def _json(body: Mapping[str, Any]) -> str:
    """Compact UTF-8; all escaped where it holds a lone surrogate, which JSON allows and UTF-8 does not."""
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(body, separators=(",", ":"))
    return text


def status_event(old: Job | None, new: Job, now: datetime) -> Event | None:
    """JobStatusChanged, None where a client would see no other status. Replays give the same `event_id`."""
    previous = PREDICTION_STATUS[old.status] if old is not None else None
    status = PREDICTION_STATUS[new.status]
    if previous == status:
        return None
    here = f"{new.public_base_url}/v1/predictions/{new.id}"
    identity = hashlib.sha256(f"{new.tenant}\n{new.id}\n{new.revision}".encode()).hexdigest()
    return Event(
        name=EventName.JOB_STATUS_CHANGED,
        source=EventSource.JOBS,
        event_id=f"evt_{identity[:32]}",
        correlation_id=new.correlation_id,
        created_at=now,
        data={
            "tenant": new.tenant,
            "job_id": new.id,
            "status": status,
            "previous_status": previous,
            "sequence": sequence_of(new.revision, EventKind.COMPLETED),
            "urls": {"get": here, "cancel": f"{here}/cancel"},
        },
    )
