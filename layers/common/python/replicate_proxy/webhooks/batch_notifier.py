"""Send one webhook when a large batch is completed, as the notifier does for predictions."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

from replicate_proxy.batches.model import BatchPhase
from replicate_proxy.contracts.large_batches import build_large_batch_view
from replicate_proxy.webhooks.commands import DeliverCommand
from replicate_proxy.webhooks.events import JobEvent, build_message_id
from replicate_proxy.webhooks.model import EventKind, StoredEvent
from replicate_proxy.webhooks.new_delivery import build_delivery

if TYPE_CHECKING:
    from replicate_proxy.batches.model import LargeBatch
    from replicate_proxy.batches.ports import BatchCountReader
    from replicate_proxy.jobs.model import Batch
    from replicate_proxy.ports import Clock, DocumentStore
    from replicate_proxy.webhooks.endpoints import Endpoint
    from replicate_proxy.webhooks.ports import DeliveryQueue, DeliveryStore, EndpointStore
    from replicate_proxy.webhooks.settings import DeliverySettings

# The only event of a batch.
_SEQUENCE = 1


class BatchNotifier:
    """Stores the event and its deliveries, under IDs that a repetition produces again, and enqueues them."""

    def __init__(
        self,
        *,
        deliveries: DeliveryStore,
        endpoints: EndpointStore,
        documents: DocumentStore,
        counts: BatchCountReader,
        queue: DeliveryQueue,
        clock: Clock,
        settings: DeliverySettings,
    ) -> None:
        self._deliveries = deliveries
        self._endpoints = endpoints
        self._documents = documents
        self._counts = counts
        self._queue = queue
        self._clock = clock
        self._settings = settings

    def notify(self, batch: Batch) -> None:
        """Send the event to the webhook of the batch and to the endpoints that subscribe to it."""
        large = batch.large
        if large is None:
            return
        kind, now = EventKind.BATCH_COMPLETED, self._clock.now()
        event = JobEvent(kind, _SEQUENCE, build_message_id(batch.tenant, batch.id, kind, _SEQUENCE))
        targets: list[Endpoint | None] = [None] if large.webhook else []
        targets += [each for each in self._endpoints.list_all(batch.tenant) if each.subscribes_to(kind)]
        deliveries = [
            build_delivery(
                event,
                endpoint,
                tenant=batch.tenant,
                job_id=batch.id,
                webhook=large.webhook,
                correlation_id=large.correlation_id,
                now=now,
                settings=self._settings,
            )
            for endpoint in targets
        ]
        if not deliveries:
            return
        self._deliveries.create_event(self._build_event(batch, large, event))
        for delivery in deliveries:
            self._deliveries.create(delivery)
        pending = [delivery for delivery in deliveries if delivery.is_pending]
        if pending:
            self._queue.send([DeliverCommand.for_delivery(delivery) for delivery in pending])

    def _build_event(self, batch: Batch, large: LargeBatch, event: JobEvent) -> StoredEvent:
        now = self._clock.now()
        counts = self._counts.read_counts(batch.tenant, batch.id)
        # The worker saves this phase after the event is stored.
        completed = replace(large, phase=BatchPhase.COMPLETED)
        body = build_large_batch_view(batch, completed, counts, now)
        body["proxy"] = {"event": event.kind.value, "sequence": event.sequence}
        return StoredEvent(
            tenant=batch.tenant,
            job_id=batch.id,
            sequence=event.sequence,
            kind=event.kind,
            message_id=event.message_id,
            created_at=now,
            body=self._documents.save(
                batch.tenant, batch.id, f"event-{event.sequence}", json.dumps(body, ensure_ascii=False)
            ),
            expires_at=self._settings.calculate_expiry(now),
        )
