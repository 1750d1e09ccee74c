"""Deliveries once more, on request: one, all that failed since a time, and test events."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from replicate_proxy.clock import format_timestamp
from replicate_proxy.errors import ApiError, ConflictError, NotFoundError
from replicate_proxy.ids import generate_id
from replicate_proxy.jobs.model import Document
from replicate_proxy.observability import logger
from replicate_proxy.webhooks.commands import DeliverCommand
from replicate_proxy.webhooks.events import message_id
from replicate_proxy.webhooks.model import (
    PREDICTION_TARGET,
    Delivery,
    DeliveryStatus,
    Ending,
    EventKind,
    StoredEvent,
)

if TYPE_CHECKING:
    from collections.abc import Collection

    from replicate_proxy.ports import Clock
    from replicate_proxy.webhooks.endpoints import Endpoint
    from replicate_proxy.webhooks.ports import DeliveryQueue, EndpointStore, Outbox
    from replicate_proxy.webhooks.retry_policy import DeliverySettings


_PAGE = 100
_PAGES = 5
# A delivery that was under way when its endpoint was disabled may have begun a whole schedule earlier.
_MISSED = frozenset({Ending.ENDPOINT_DISABLED, Ending.GONE})


@dataclass(frozen=True, slots=True)
class Redelivered:
    """How many were queued again; `next` is the cursor for the rest, None where all were looked at."""

    number: int
    next: str | None


class Redelivery:
    """A redelivery is the same event: same id, same bytes, a fresh schedule, one more line of attempts."""

    def __init__(
        self,
        *,
        outbox: Outbox,
        endpoints: EndpointStore,
        queue: DeliveryQueue,
        clock: Clock,
        settings: DeliverySettings,
    ) -> None:
        self._outbox = outbox
        self._endpoints = endpoints
        self._queue = queue
        self._clock = clock
        self._settings = settings

    def one(self, tenant: str, delivery_id: str) -> Delivery:
        """Queues a delivery now, whether it failed, succeeded or waits for its next attempt.

        Raises NotFoundError; a 409 ApiError where the endpoint is off or gone, or an attempt is under way.
        """
        delivery = self.find(tenant, delivery_id)
        endpoint = self._endpoints.get(tenant, delivery.target)
        if delivery.target != PREDICTION_TARGET and (endpoint is None or not endpoint.is_enabled):
            raise ApiError(409, "Endpoint disabled", "Enable the endpoint before redelivering to it")
        try:
            saved = self._again(delivery)
        except ConflictError:
            saved = None
        if saved is None:
            raise ApiError(
                409, "Attempt under way", "An attempt of this delivery is under way; try again in a minute"
            )
        self._queue.send([DeliverCommand.of(saved)])
        return saved

    def failed_since(
        self,
        tenant: str,
        target: str,
        since: datetime,
        *,
        cursor: str | None = None,
        endings: Collection[Ending] = (),
    ) -> Redelivered:
        """Queues a target's failed deliveries of events since a time, oldest first, at most 500 a call."""
        number = 0
        for _ in range(_PAGES):
            page = self._outbox.deliveries_to(
                tenant, target, since=since, cursor=cursor, limit=_PAGE, oldest_first=True
            )
            number += self._queue_again([each for each in page.deliveries if _is_meant(each, endings)])
            cursor = page.next
            if cursor is None:
                break
        logger.info("deliveries queued again", target=target, number=number, finished=cursor is None)
        return Redelivered(number, cursor)

    def missed(self, endpoint: Endpoint, disabled_at: datetime) -> Redelivered:
        """What an endpoint missed while it was disabled."""
        since = disabled_at - timedelta(seconds=self._settings.give_up_after)
        return self.failed_since(endpoint.tenant, endpoint.id, since, endings=_MISSED)

    def all_failed_since(self, tenant: str, since: datetime, *, cursor: str | None = None) -> Redelivered:
        """The same for predictions' own webhooks and every enabled endpoint, one target after another."""
        targets = [PREDICTION_TARGET, *(each.id for each in self._endpoints.all(tenant) if each.is_enabled)]
        first, _, inner = (cursor or PREDICTION_TARGET).partition("~")
        # Ids sort by time and the predictions' own come first; the one that the cursor names may be gone.
        remaining = targets if first == PREDICTION_TARGET else [each for each in targets[1:] if each >= first]
        inner = inner if remaining[:1] == [first] else ""
        number = 0
        for index, target in enumerate(remaining):
            done = self.failed_since(tenant, target, since, cursor=inner or None)
            number, inner = number + done.number, ""
            if done.next is not None:
                return Redelivered(number, f"{target}~{done.next}")
            if number >= _PAGE * _PAGES and index + 1 < len(remaining):
                return Redelivered(number, remaining[index + 1])
        return Redelivered(number, None)

    def test(self, endpoint: Endpoint, *, base_url: str) -> Delivery:
        """Sends an event that is about nothing, to see whether the receiver is there and verifies."""
        now = self._clock.now()
        job_id = generate_id(now)
        expires_at = int((now + timedelta(days=self._settings.retention_days)).timestamp())
        identity = message_id(endpoint.tenant, job_id, EventKind.TEST, 0)
        text = json.dumps(_sample(job_id, now, base_url))
        event = StoredEvent(
            tenant=endpoint.tenant,
            job_id=job_id,
            sequence=0,
            kind=EventKind.TEST,
            message_id=identity,
            created_at=now,
            body=Document(text=json.dumps(text)),
            expires_at=expires_at,
        )
        delivery = Delivery(
            tenant=endpoint.tenant,
            job_id=job_id,
            sequence=0,
            target=endpoint.id,
            kind=EventKind.TEST,
            message_id=identity,
            url=None,
            created_at=now,
            queued_at=now,
            next_attempt_at=now,
            due_at=now + timedelta(seconds=self._settings.handover),
            expires_at=expires_at,
        )
        self._outbox.record_event(event)
        self._outbox.record(delivery)
        self._queue.send([DeliverCommand.of(delivery)])
        return delivery

    def find(self, tenant: str, delivery_id: str) -> Delivery:
        """Raises NotFoundError, for another tenant's as for one that never was."""
        job_id, sequence, target = [*delivery_id.split("."), "", ""][:3]
        found = None
        if sequence.isascii() and sequence.isdigit() and len(sequence) <= _SEQUENCE_DIGITS and target:
            found = self._outbox.get(tenant, job_id, int(sequence), target)
        if found is None or found.id != delivery_id:
            raise NotFoundError("no such delivery")
        return found

    def _queue_again(self, deliveries: list[Delivery]) -> int:
        saved: list[Delivery] = []
        for delivery in deliveries:
            try:
                again = self._again(delivery)
            except ConflictError:
                continue  # it moved this moment: not failed any more
            saved += [again] if again else []
        self._queue.send([DeliverCommand.of(each) for each in saved])
        return len(saved)

    def _again(self, delivery: Delivery) -> Delivery | None:
        """The delivery at the beginning of a new round; None while an attempt is under way."""
        now = self._clock.now()
        if delivery.is_pending and delivery.is_leased(now):
            return None
        return self._outbox.save(
            replace(
                delivery,
                status=DeliveryStatus.PENDING,
                tries=0,
                verdict=None,
                ending=None,
                finished_at=None,
                lease_until=None,
                queued_at=now,
                next_attempt_at=now,
                due_at=now + timedelta(seconds=self._settings.handover),
            )
        )


_SEQUENCE_DIGITS = 12


def _is_meant(delivery: Delivery, endings: Collection[Ending]) -> bool:
    return delivery.status is DeliveryStatus.FAILED and (not endings or delivery.ending in endings)


def _sample(job_id: str, now: datetime, base_url: str) -> dict[str, object]:
    """A prediction that never was; `starting`, so that no receiver takes it for a result."""
    here = f"{base_url}/v1/predictions/{job_id}"
    return {
        "id": job_id,
        "model": "replicate-proxy/test",
        "version": "hidden",
        "input": {},
        "output": None,
        "logs": "",
        "error": None,
        "status": "starting",
        "created_at": format_timestamp(now),
        "data_removed": False,
        "urls": {"get": here, "cancel": f"{here}/cancel"},
        "proxy": {"event": EventKind.TEST.value, "sequence": 0},
    }
