"""The state changes of a delivery. Each one is a conditional write, then the messages that follow from it."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from replicate_proxy.errors import ConflictError
from replicate_proxy.observability import Metric, count, logger
from replicate_proxy.webhooks.commands import DeliverCommand
from replicate_proxy.webhooks.model import Attempt, Delivery, DeliveryStatus, FailureReason
from replicate_proxy.webhooks.retry_policy import calculate_pause_delay, restart_schedule

if TYPE_CHECKING:
    from collections.abc import Sequence

    from replicate_proxy.pauses.pause import Pause
    from replicate_proxy.webhooks.ports import DeliveryQueue, DeliveryStore
    from replicate_proxy.webhooks.settings import DeliverySettings


# A job has few events. Of the earlier deliveries more than one is pending only while a receiver fails.
_MAX_NEIGHBORS = 16
_MAX_EARLIER = 7


@dataclass(frozen=True, slots=True)
class LoadedDelivery:
    """A delivery with the pending earlier ones and the later ones of its job to the same target."""

    delivery: Delivery
    earlier: Sequence[Delivery]
    later: Sequence[Delivery]

    @property
    def is_overtaken(self) -> bool:
        """Return whether the target has accepted a later event since the delivery's schedule started."""
        started_at = self.delivery.schedule_started_at
        return any(
            other.status is DeliveryStatus.SUCCEEDED
            and (not self.delivery.is_redelivery or (other.finished_at or started_at) > started_at)
            for other in self.later
        )


class DeliveryUpdater:
    """Applies state changes to deliveries. Methods raise ConflictError if another worker was faster."""

    def __init__(
        self, *, deliveries: DeliveryStore, queue: DeliveryQueue, settings: DeliverySettings
    ) -> None:
        self._deliveries = deliveries
        self._queue = queue
        self._settings = settings

    def load(self, command: DeliverCommand) -> LoadedDelivery | None:
        """Return the delivery and its neighbors, or None if it does not exist."""
        key = command.tenant, command.job_id, command.target
        latest = self._deliveries.list_latest(*key, limit=_MAX_NEIGHBORS)
        later = [other for other in latest if other.sequence > command.sequence]
        up_to = latest[len(later) :]
        if len(up_to) <= _MAX_EARLIER and len(latest) == _MAX_NEIGHBORS:
            up_to = self._deliveries.list_latest(
                *key, up_to_sequence=command.sequence, limit=_MAX_EARLIER + 1
            )
        if not up_to or up_to[0].sequence != command.sequence:
            return None
        earlier = [other for other in up_to[1 : _MAX_EARLIER + 1] if other.is_pending]
        return LoadedDelivery(up_to[0], earlier, later)

    def record_attempt(self, attempt: Attempt) -> None:
        """Store an attempt."""
        self._deliveries.record_attempt(attempt)

    def claim(self, delivery: Delivery, supersedes: Sequence[Delivery], now: datetime) -> Delivery:
        """Lease the delivery for one attempt; after a crash the sweep finds it when the lease ends."""
        lease_until = now + timedelta(seconds=self._settings.lease_seconds)
        for earlier in supersedes:
            # Sent at the same time, the two could arrive in the wrong order.
            postponed_to = max(earlier.next_attempt_at, lease_until)
            self._deliveries.save(replace(earlier, next_attempt_at=postponed_to, due_at=postponed_to))
        return self._deliveries.save(
            replace(
                delivery,
                total_attempts=delivery.total_attempts + 1,
                lease_until=lease_until,
                due_at=lease_until,
            )
        )

    def defer(self, delivery: Delivery, blocking: Sequence[Delivery], now: datetime) -> None:
        """Leave the delivery to wait for earlier ones.

        The last of them enqueues it when it ends. The sweep checks again, in case that message is lost or the
        ordering timeout ends first.
        """
        next_attempt_at = max(earlier.next_attempt_at for earlier in blocking)
        due_at = max(next_attempt_at, now) + timedelta(seconds=self._settings.max_queue_delay_seconds)
        ordering_timeout = timedelta(seconds=self._settings.ordering_timeout_seconds)
        ordering_timeout_at = now + ordering_timeout - delivery.calculate_age(now)
        if now < ordering_timeout_at:
            due_at = min(due_at, ordering_timeout_at)
        self._deliveries.save(replace(delivery, due_at=due_at))
        logger.info("delivery deferred, earlier one pending", delivery_id=delivery.id)

    def hold(self, delivery: Delivery, pause: Pause, now: datetime) -> None:
        """Leave the delivery, which is due, to the sweep until the pause has ended."""
        due_at = now + calculate_pause_delay(pause, now, self._settings)
        paused_since = delivery.paused_since or now
        self._deliveries.save(replace(delivery, paused_since=paused_since, due_at=due_at))
        logger.info("delivery postponed", delivery_id=delivery.id, reason="deliveries are paused")

    def reschedule(self, delivery: Delivery, next_attempt_at: datetime, now: datetime) -> None:
        """Schedule the next attempt.

        A short delay goes through the queue, with the sweep as a backstop; a longer one is left to the sweep.
        The lease of an attempt whose end is unknown stays: the event may have arrived.
        """
        delay_seconds = (next_attempt_at - now).total_seconds()
        is_soon = delay_seconds <= self._settings.max_queue_delay_seconds
        due_at = next_attempt_at
        if is_soon:
            due_at += timedelta(seconds=self._settings.requeue_after_seconds)
        saved = self._deliveries.save(replace(delivery, next_attempt_at=next_attempt_at, due_at=due_at))
        if is_soon:
            self._queue.send([DeliverCommand.for_delivery(saved)], delay_seconds=delay_seconds)

    def mark_succeeded(self, delivery: Delivery, now: datetime) -> None:
        """End the delivery as succeeded."""
        self._deliveries.save(_end(delivery, DeliveryStatus.SUCCEEDED, None, now))

    def mark_failed(self, delivery: Delivery, reason: FailureReason, now: datetime) -> Delivery:
        """End the delivery as failed; only a redelivery attempts it again."""
        saved = self._deliveries.save(_end(delivery, DeliveryStatus.FAILED, reason, now))
        logger.warning("delivery failed", delivery_id=delivery.id, reason=reason)
        count(Metric.DELIVERY_FAILED)
        return saved

    def mark_superseded(self, delivery: Delivery, now: datetime) -> None:
        """End the delivery because the target has accepted a later event."""
        self._deliveries.save(_end(delivery, DeliveryStatus.SUPERSEDED, None, now))

    def supersede_earlier(self, overtaken: Sequence[Delivery], now: datetime) -> None:
        """End the earlier deliveries that a successful one has overtaken.

        One that is missed here, because the process ends, notices by itself when it is due.
        """
        for earlier in overtaken:
            current = self._deliveries.get(earlier.tenant, earlier.job_id, earlier.sequence, earlier.target)
            if current is not None and current.is_pending:
                with suppress(ConflictError):
                    self.mark_superseded(current, now)

    def restart(self, delivery: Delivery, now: datetime) -> DeliverCommand:
        """Start a new schedule of a delivery that has ended; return its command."""
        saved = self._deliveries.save(restart_schedule(delivery, now, self._settings))
        return DeliverCommand.for_delivery(saved)

    def find_next(self, delivery: Delivery) -> DeliverCommand | None:
        """Return the command of the next delivery in order, if one is pending."""
        next_delivery = self._deliveries.get_next(delivery)
        if next_delivery is None or not next_delivery.is_pending:
            return None
        return DeliverCommand.for_delivery(next_delivery)

    def enqueue_next(self, command: DeliverCommand | None) -> None:
        """Enqueue the command of the next delivery in order, if there is one."""
        if command is not None:
            self._queue.send([command])


def _end(delivery: Delivery, status: DeliveryStatus, reason: FailureReason | None, now: datetime) -> Delivery:
    return replace(
        delivery, status=status, failure_reason=reason, finished_at=now, lease_until=None, due_at=None
    )
