"""From a change of a job to the events an application hears of. Pure.

Replicate docs, webhooks: `start` when a prediction starts, `output` when it gives output, `logs` when it
logs, `completed` at the end; without a filter `output` and `completed`. Our `output` comes once, when the
output is final.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from replicate_proxy.contracts.api import CLIENT_STATUS
from replicate_proxy.jobs.model import Job, JobStatus
from replicate_proxy.notifications.model import EventKind

__all__ = ["DEFAULT_EVENTS", "JobEvent", "events_of", "message_id", "sequence_of", "wants"]

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
    sequence = sequence_of(job.rev, kind)
    return JobEvent(kind, sequence, message_id(job.tenant, job.id, kind, sequence))


def _has_started(job: Job) -> bool:
    """Visible as `processing` now, or ended after Replicate had started it."""
    return CLIENT_STATUS[job.status] == "processing" or (job.is_terminal and job.started_at is not None)
