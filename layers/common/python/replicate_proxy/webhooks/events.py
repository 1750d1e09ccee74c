"""Webhook events of a job, and the body that each one sends. No I/O.

Replicate docs, "Webhooks": `start` when a prediction starts, `output` when it produces output, `logs` when it
logs, `completed` at the end; without a filter `output` and `completed`. Our `output` comes once, when the
output is final.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from replicate_proxy.contracts.predictions import PREDICTION_STATUS
from replicate_proxy.jobs.model import Job, JobStatus
from replicate_proxy.webhooks.model import EventKind

if TYPE_CHECKING:
    from collections.abc import Mapping


DEFAULT_EVENTS = (EventKind.OUTPUT, EventKind.COMPLETED)
_EVENT_ORDER = (EventKind.START, EventKind.LOGS, EventKind.OUTPUT, EventKind.COMPLETED)

_COMPLETION_FIELDS = ("completed_at", "metrics")
# What a body can do without, the most dispensable first: the application knows the input, and GET returns
# everything.
_OMITTABLE_FIELDS: tuple[tuple[str, Any], ...] = (("input", {}), ("logs", ""), ("output", None))


@dataclass(frozen=True, slots=True)
class JobEvent:
    """One event of a job.

    `sequence` grows within the job, not by ones. `message_id` is sent as `webhook-id`.
    """

    kind: EventKind
    sequence: int
    message_id: str


def derive_events(old: Job | None, new: Job) -> tuple[JobEvent, ...]:
    """Return the events between two records of one job, in order.

    The same two records always give the same events, IDs included.
    """
    if old is not None and old.is_terminal:
        return ()
    happened = {
        EventKind.START: _has_started(new) and not (old is not None and _has_started(old)),
        EventKind.LOGS: new.logs is not None and new.logs != (old.logs if old is not None else None),
        EventKind.OUTPUT: new.status is JobStatus.SUCCEEDED and new.output is not None,
        EventKind.COMPLETED: new.is_terminal,
    }
    return tuple(_build_event(new, kind) for kind in _EVENT_ORDER if happened[kind])


def matches_event_filter(job: Job, kind: EventKind) -> bool:
    """Return whether the event filter of the prediction's own webhook lets this event through."""
    return kind in (job.webhook_events or DEFAULT_EVENTS)


def build_sequence(revision: int, kind: EventKind) -> int:
    """Return the event's sequence number.

    It derives from the job's revision, so that a replayed stream record gives the same number.
    """
    return revision * len(_EVENT_ORDER) + _EVENT_ORDER.index(kind)


def build_message_id(tenant: str, job_id: str, kind: EventKind, sequence: int) -> str:
    """Return `msg_` and 32 hex digits, the same through retries, redeliveries and stream replays."""
    identity = "\n".join((tenant, job_id, kind, str(sequence)))
    return f"msg_{hashlib.sha256(identity.encode()).hexdigest()[:32]}"


def render_body(view: Mapping[str, Any], event: JobEvent, *, max_bytes: int) -> str:
    """Return the JSON text to send: the prediction as GET returns it, at the time of the event.

    `view` is that GET body. `proxy.event` and `proxy.sequence` put the event's identity under the signature.
    A text above `max_bytes` loses its file records, then `input`, then `logs`, then `output`, until it fits;
    `proxy.omitted` names those of the last three that are left out. Without all of them it is returned
    however long it is.
    """
    body = _build_view_at_event(event.kind, dict(view))
    proxy = {**(view.get("proxy") or {}), "event": event.kind.value, "sequence": event.sequence}
    omitted: list[str] = []
    text = to_json({**body, "proxy": proxy})
    if len(text.encode()) > max_bytes:
        # The file records of a job with hundreds of files are as long as its output.
        proxy = {**proxy, "files": []}
        text = to_json({**body, "proxy": proxy})
    for name, empty_value in _OMITTABLE_FIELDS:
        if len(text.encode()) <= max_bytes:
            break
        body = {**body, name: empty_value}
        omitted.append(name)
        text = to_json({**body, "proxy": {**proxy, "omitted": list(omitted)}})
    return text


def _build_event(job: Job, kind: EventKind) -> JobEvent:
    sequence = build_sequence(job.revision, kind)
    return JobEvent(kind, sequence, build_message_id(job.tenant, job.id, kind, sequence))


def _has_started(job: Job) -> bool:
    """Return whether the job is visible as `processing`, or ended after Replicate had started it."""
    return PREDICTION_STATUS[job.status] == "processing" or (job.is_terminal and job.started_at is not None)


def _build_view_at_event(kind: EventKind, view: dict[str, Any]) -> dict[str, Any]:
    """Return the view without what happened to the job after this event.

    Only `completed` may show a terminal status: receivers act on it, and would act twice if `output`, which
    is sent at the same time, showed it too. Replicate's own `output` reads `processing` as well.
    """
    if kind is EventKind.COMPLETED or view["status"] in {"starting", "processing"}:
        return view
    unfinished = {name: value for name, value in view.items() if name not in _COMPLETION_FIELDS}
    output = view.get("output") if kind is EventKind.OUTPUT else None
    return {**unfinished, "status": "processing", "error": None, "output": output}


def to_json(body: Any) -> str:
    """Return the body of a webhook as compact JSON, ASCII-escaped if it holds a lone surrogate.

    JSON allows lone surrogates, UTF-8 does not.
    """
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(body, separators=(",", ":"))
    return text
