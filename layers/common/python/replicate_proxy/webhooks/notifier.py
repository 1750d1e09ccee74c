"""Telling consumers inside AWS: the bus, and an SNS topic where there is one.

From changes of jobs to the outbox, the notify queue, the bus and the topic.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from replicate_proxy.contracts.predictions import build_prediction_view
from replicate_proxy.errors import NotFoundError, ProxyError
from replicate_proxy.observability import logger
from replicate_proxy.testing.checkpoints import Checkpoint, no_checkpoint
from replicate_proxy.webhooks.commands import DeliverCommand
from replicate_proxy.webhooks.events import JobEvent, body_text, events_of, status_event, wants
from replicate_proxy.webhooks.model import PREDICTION_TARGET, Delivery, DeliveryStatus, Ending, StoredEvent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from replicate_proxy.contracts.events import Event
    from replicate_proxy.jobs.model import Document, Job
    from replicate_proxy.ports import Clock, DocumentStore, EventBus
    from replicate_proxy.webhooks.endpoints import Endpoint
    from replicate_proxy.webhooks.ports import DeliveryQueue, EndpointStore, Outbox, Topic
    from replicate_proxy.webhooks.retry_policy import DeliverySettings


class Announcements:
    """Publishes JobStatusChanged events; on the topic, `tenant` and `status` are attributes to filter by."""

    def __init__(self, bus: EventBus, topic: Topic | None = None) -> None:
        self._bus = bus
        self._topic = topic

    def publish(self, events: Sequence[Event]) -> None:
        """Raises RetryableError where any was not taken."""
        if events:
            self._bus.publish(events)
        if self._topic is None:
            return
        for event in events:
            attributes = {name: str(event.data[name]) for name in ("tenant", "status")}
            self._topic.publish(event.to_detail(), attributes=attributes)


@dataclass(frozen=True, slots=True)
class JobChange:
    """Two records of one job, one save apart; `old` is None for a new job."""

    old: Job | None
    new: Job


@dataclass(slots=True)
class _Outgoing:
    """What one batch of changes puts on queue and bus, sent together."""

    commands: list[DeliverCommand] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)


class Notifier:
    """Writes what must be delivered before it sends anything, all under ids that a replay gives again."""

    def __init__(
        self,
        *,
        outbox: Outbox,
        endpoints: EndpointStore,
        documents: DocumentStore,
        queue: DeliveryQueue,
        announcements: Announcements,
        clock: Clock,
        settings: DeliverySettings,
        checkpoint: Checkpoint = no_checkpoint,
    ) -> None:
        self._outbox = outbox
        self._endpoints = endpoints
        self._documents = documents
        self._queue = queue
        self._announcements = announcements
        self._clock = clock
        self._settings = settings
        self._checkpoint = checkpoint

    def notify(self, changes: Sequence[JobChange]) -> int | None:
        """Handles changes in order; the index of the first that must be seen again, None where all is done.

        It stops there: a later event of the same job must not reach the outbox before an earlier one.
        """
        outgoing = _Outgoing()
        failed: int | None = None
        for index, change in enumerate(changes):
            try:
                self._record(change, outgoing)
            except Exception:  # noqa: BLE001 - whatever it was, the stream must show this change again
                logger.exception("change of a job not recorded", job_id=change.new.id)
                failed = index
                break
        try:
            self._send(outgoing)
        except ProxyError:
            logger.exception("recorded deliveries not sent")
            return 0
        return failed

    def _record(self, change: JobChange, outgoing: _Outgoing) -> None:
        now = self._clock.now()
        told = status_event(change.old, change.new, now)
        if told is not None:
            outgoing.events.append(told)
        events = events_of(change.old, change.new)
        if not events:
            return
        endpoints = self._endpoints.all(change.new.tenant)
        led: set[str] = set()
        for event in events:
            deliveries = self._deliveries(change.new, event, endpoints, now)
            if deliveries:
                self._outbox.record_event(self._rendered(change.new, event, now))
            for delivery in deliveries:
                is_new = self._outbox.record(delivery)
                # One that was recorded just now before it will wake it: no message of its own.
                if delivery.is_pending and delivery.target not in led:
                    outgoing.commands.append(DeliverCommand.of(delivery))
                    led |= {delivery.target} if is_new else set()

    def _send(self, outgoing: _Outgoing) -> None:
        self._checkpoint("notify.deliveries_stored")
        if outgoing.commands:
            self._queue.send(outgoing.commands)
        self._checkpoint("notify.deliveries_enqueued")
        self._announcements.publish(outgoing.events)
        self._checkpoint("notify.events_published")

    def _deliveries(
        self, job: Job, event: JobEvent, endpoints: Sequence[Endpoint], now: datetime
    ) -> list[Delivery]:
        """One for the prediction's own webhook, one for each endpoint, as far as they want the event."""
        own = [self._delivery(job, event, now)] if job.webhook and wants(job, event.kind) else []
        wanting = [endpoint for endpoint in endpoints if endpoint.wants(event.kind)]
        return own + [self._delivery(job, event, now, endpoint) for endpoint in wanting]

    def _delivery(
        self, job: Job, event: JobEvent, now: datetime, endpoint: Endpoint | None = None
    ) -> Delivery:
        """For a disabled endpoint a failed one, so that it can be redelivered once the endpoint is back."""
        off = endpoint is not None and not endpoint.is_enabled
        return Delivery(
            tenant=job.tenant,
            job_id=job.id,
            sequence=event.sequence,
            target=endpoint.id if endpoint is not None else PREDICTION_TARGET,
            kind=event.kind,
            message_id=event.message_id,
            url=job.webhook if endpoint is None else None,
            created_at=now,
            queued_at=now,
            next_attempt_at=now,
            due_at=None if off else now + timedelta(seconds=self._settings.handover),
            expires_at=self._expiry(now),
            status=DeliveryStatus.FAILED if off else DeliveryStatus.PENDING,
            ending=Ending.ENDPOINT_DISABLED if off else None,
            finished_at=now if off else None,
            correlation_id=job.correlation_id,
        )

    def _rendered(self, job: Job, event: JobEvent, now: datetime) -> StoredEvent:
        view = build_prediction_view(
            job,
            input=self._load(job.input),
            output=self._load(job.output),
            logs=self._load(job.logs),
            files=self._load(job.files),
        )
        text = body_text(view, event, limit=self._settings.body_limit)
        return StoredEvent(
            tenant=job.tenant,
            job_id=job.id,
            sequence=event.sequence,
            kind=event.kind,
            message_id=event.message_id,
            created_at=now,
            body=self._documents.save(job.tenant, job.id, f"event-{event.sequence}", text),
            expires_at=self._expiry(now),
        )

    def _load(self, document: Document | None) -> object:
        """None where the stored part is gone: the event is told all the same."""
        try:
            return self._documents.load(document)
        except NotFoundError:
            logger.warning("part of a job is gone from the store")
            return None

    def _expiry(self, now: datetime) -> int:
        return int((now + timedelta(days=self._settings.retention_days)).timestamp())
