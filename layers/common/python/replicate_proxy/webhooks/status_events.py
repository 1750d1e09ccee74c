"""Publish JobStatusChanged events for consumers inside AWS: on the bus and, if configured, an SNS topic."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from replicate_proxy.contracts.events import Event, EventName, EventSource
from replicate_proxy.contracts.predictions import PREDICTION_STATUS
from replicate_proxy.webhooks.events import build_sequence
from replicate_proxy.webhooks.model import EventKind

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from replicate_proxy.ports import EventBus
    from replicate_proxy.webhooks.model import JobChange
    from replicate_proxy.webhooks.ports import Topic


def build_status_event(change: JobChange, now: datetime) -> Event | None:
    """Return the JobStatusChanged event, or None if clients see the same status as before.

    The `event_id` derives from the job's revision, so that a replayed stream record gives the same ID.
    """
    old, job = change.old, change.new
    previous_status = PREDICTION_STATUS[old.status] if old is not None else None
    status = PREDICTION_STATUS[job.status]
    if previous_status == status:
        return None
    url = f"{job.public_base_url}/v1/predictions/{job.id}"
    identity = hashlib.sha256(f"{job.tenant}\n{job.id}\n{job.revision}".encode()).hexdigest()
    return Event(
        name=EventName.JOB_STATUS_CHANGED,
        source=EventSource.JOBS,
        event_id=f"evt_{identity[:32]}",
        correlation_id=job.correlation_id,
        created_at=now,
        data={
            "tenant": job.tenant,
            "job_id": job.id,
            "status": status,
            "previous_status": previous_status,
            "sequence": build_sequence(job.revision, EventKind.COMPLETED),
            "urls": {"get": url, "cancel": f"{url}/cancel"},
        },
    )


class StatusPublisher:
    """Publishes JobStatusChanged events. Topic messages carry `tenant` and `status` as filter attributes."""

    def __init__(self, bus: EventBus, topic: Topic | None = None) -> None:
        self._bus = bus
        self._topic = topic

    def publish(self, events: Sequence[Event]) -> None:
        """Publish the events. Raises RetryableError if the bus or the topic did not accept all of them."""
        if events:
            self._bus.publish(events)
        if self._topic is None:
            return
        for event in events:
            attributes = {name: str(event.data[name]) for name in ("tenant", "status")}
            self._topic.publish(event.to_detail(), attributes=attributes)
