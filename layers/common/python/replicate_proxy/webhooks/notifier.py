"""Turn changes of jobs into stored events and deliveries, queue messages, bus events and topic messages."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from replicate_proxy.contracts.predictions import build_prediction_view
from replicate_proxy.deletion.model import LATE_CHANGE
from replicate_proxy.errors import ConflictError, NotFoundError, ProxyError
from replicate_proxy.observability import logger
from replicate_proxy.testing.checkpoints import Checkpoint, no_checkpoint
from replicate_proxy.webhooks.commands import DeliverCommand
from replicate_proxy.webhooks.events import JobEvent, derive_events, matches_event_filter, render_body
from replicate_proxy.webhooks.model import Delivery, StoredEvent
from replicate_proxy.webhooks.new_delivery import build_delivery
from replicate_proxy.webhooks.retry_policy import restart_schedule
from replicate_proxy.webhooks.status_events import build_status_event

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager
    from datetime import datetime

    from replicate_proxy.contracts.events import Event
    from replicate_proxy.jobs.model import Document, Job
    from replicate_proxy.ports import Clock, DocumentStore
    from replicate_proxy.webhooks.endpoints import Endpoint
    from replicate_proxy.webhooks.model import JobChange
    from replicate_proxy.webhooks.ports import DeliveryQueue, DeliveryStore, EndpointStore
    from replicate_proxy.webhooks.settings import DeliverySettings
    from replicate_proxy.webhooks.status_events import StatusPublisher


@dataclass(slots=True)
class _OutgoingMessages:
    """Queue messages and bus events of one batch of changes, sent together at its end."""

    commands: list[DeliverCommand] = field(default_factory=list)
    status_events: list[Event] = field(default_factory=list)


class Notifier:
    """Stores events and deliveries before it sends anything, under IDs that a replay produces again."""

    def __init__(  # noqa: PLR0913 - what a change needs to become messages
        self,
        *,
        deliveries: DeliveryStore,
        endpoints: EndpointStore,
        documents: DocumentStore,
        queue: DeliveryQueue,
        publisher: StatusPublisher,
        clock: Clock,
        settings: DeliverySettings,
        is_deleted: Callable[[str, str], bool] = lambda _tenant, _job_id: False,
        checkpoint: Checkpoint = no_checkpoint,
    ) -> None:
        self._deliveries = deliveries
        self._endpoints = endpoints
        self._documents = documents
        self._queue = queue
        self._publisher = publisher
        self._clock = clock
        self._settings = settings
        self._is_deleted = is_deleted
        self._checkpoint = checkpoint

    def notify(self, changes: Sequence[JobChange]) -> int | None:
        """Handle changes in order; return the index of the first one to retry, or None if all are done.

        Handling stops at the first failure: a later event of a job must not be stored before an earlier one.
        """
        outgoing = _OutgoingMessages()
        failed_index: int | None = None
        for index, change in enumerate(changes):
            try:
                with _log_keys_of(change.new):
                    self._store_change(change, outgoing)
            except Exception:  # noqa: BLE001 - whatever went wrong, the stream must deliver this change again
                with _log_keys_of(change.new):
                    logger.exception("job change not recorded")
                failed_index = index
                break
        try:
            self._send(outgoing)
        except ProxyError:
            logger.exception("deliveries stored but not sent")
            return 0
        return failed_index

    def _store_change(self, change: JobChange, outgoing: _OutgoingMessages) -> None:
        if change.is_restored:
            return
        now = self._clock.now()
        status_event = build_status_event(change, now)
        if status_event is not None:
            outgoing.status_events.append(status_event)
        events = derive_events(change.old, change.new)
        if not events or self._is_of_deleted_job(change.new, now):
            return
        endpoints = self._endpoints.list_all(change.new.tenant)
        enqueued_targets: set[str] = set()
        delivery_count = 0
        for event in events:
            deliveries = self._build_deliveries(change.new, event, endpoints, now)
            if deliveries:
                self._deliveries.create_event(self._render_event(change.new, event, now))
            delivery_count += len(deliveries)
            new = [delivery for delivery in deliveries if self._deliveries.create(delivery)]
            for delivery in [*deliveries, *self._restart_missed(deliveries, now)]:
                # A new delivery enqueues the later ones of its target when it ends: they need no message.
                if delivery.is_pending and delivery.target not in enqueued_targets:
                    outgoing.commands.append(DeliverCommand.for_delivery(delivery))
                    if delivery in new:
                        enqueued_targets.add(delivery.target)

        if delivery_count:
            logger.info(
                "deliveries stored",
                status=change.new.status.value,
                events=[event.kind.value for event in events],
                deliveries=delivery_count,
            )

    def _is_of_deleted_job(self, job: Job, now: datetime) -> bool:
        """Return whether the change comes late and its job was deleted meanwhile: then nothing is sent."""
        changed_at = max(job.timeline.values(), default=job.created_at)
        if now - changed_at < LATE_CHANGE or not self._is_deleted(job.tenant, job.id):
            return False
        logger.info("change of deleted job ignored", status=job.status.value)
        return True

    def _restart_missed(self, deliveries: Sequence[Delivery], now: datetime) -> list[Delivery]:
        """Restart the deliveries that failed for a disabled endpoint which is enabled by now.

        The search at the moment of enabling may have come before they were stored.
        """
        failed = [delivery for delivery in deliveries if not delivery.is_pending]
        if not failed:
            return []
        endpoints = self._endpoints.list_all(failed[0].tenant)
        enabled = {endpoint.id for endpoint in endpoints if endpoint.is_enabled}
        restarted: list[Delivery] = []
        for delivery in failed:
            if delivery.target in enabled:
                with suppress(ConflictError):  # That search, or an earlier run for this change, restarted it.
                    restarted.append(self._deliveries.save(restart_schedule(delivery, now, self._settings)))
        return restarted

    def _send(self, outgoing: _OutgoingMessages) -> None:
        self._checkpoint("notify.deliveries_stored")
        if outgoing.commands:
            self._queue.send(outgoing.commands)
        self._checkpoint("notify.deliveries_enqueued")
        self._publisher.publish(outgoing.status_events)
        self._checkpoint("notify.events_published")

    def _build_deliveries(
        self, job: Job, event: JobEvent, endpoints: Sequence[Endpoint], now: datetime
    ) -> list[Delivery]:
        """Return one delivery for each target that subscribes to the event."""
        targets: list[Endpoint | None] = []
        if job.webhook and matches_event_filter(job, event.kind):
            targets.append(None)
        targets += [endpoint for endpoint in endpoints if endpoint.subscribes_to(event.kind)]
        build = partial(
            build_delivery,
            tenant=job.tenant,
            job_id=job.id,
            webhook=job.webhook,
            correlation_id=job.correlation_id,
            now=now,
            settings=self._settings,
        )
        return [build(event, endpoint) for endpoint in targets]

    def _render_event(self, job: Job, event: JobEvent, now: datetime) -> StoredEvent:
        view = build_prediction_view(
            job,
            input=self._load_document(job.input),
            output=self._load_document(job.output),
            logs=self._load_document(job.logs),
            files=self._load_document(job.files),
        )
        text = render_body(view, event, max_bytes=self._settings.max_body_bytes)
        return StoredEvent(
            tenant=job.tenant,
            job_id=job.id,
            sequence=event.sequence,
            kind=event.kind,
            message_id=event.message_id,
            created_at=now,
            body=self._documents.save(job.tenant, job.id, f"event-{event.sequence}", text),
            expires_at=self._settings.calculate_expiry(now),
            private_folder=job.private_folder or None,
        )

    def _load_document(self, document: Document | None) -> object:
        """Return the value, or None if it is missing: the event is sent without it."""
        try:
            return self._documents.load(document)
        except NotFoundError:
            logger.warning("document of a job missing")
            return None


def _log_keys_of(job: Job) -> AbstractContextManager[None]:
    """Add the job's IDs to every line that is logged in the block."""
    return logger.append_context_keys(job_id=job.id, tenant=job.tenant, correlation_id=job.correlation_id)
