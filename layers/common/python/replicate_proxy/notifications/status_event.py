"""The bus event of a job whose client-visible status changed. Pure."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from replicate_proxy.contracts.api import CLIENT_STATUS
from replicate_proxy.contracts.events import Event, EventName, EventSource
from replicate_proxy.notifications.events import sequence_of
from replicate_proxy.notifications.model import EventKind

if TYPE_CHECKING:
    from datetime import datetime

    from replicate_proxy.jobs.model import Job

__all__ = ["status_event"]


def status_event(old: Job | None, new: Job, now: datetime) -> Event | None:
    """JobStatusChanged, None where a client would see no other status. Replays give the same `event_id`."""
    previous = CLIENT_STATUS[old.status] if old is not None else None
    status = CLIENT_STATUS[new.status]
    if previous == status:
        return None
    here = f"{new.base_url}/v1/predictions/{new.id}"
    identity = hashlib.sha256(f"{new.tenant}\n{new.id}\n{new.rev}".encode()).hexdigest()
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
            "sequence": sequence_of(new.rev, EventKind.COMPLETED),
            "urls": {"get": here, "cancel": f"{here}/cancel"},
        },
    )
