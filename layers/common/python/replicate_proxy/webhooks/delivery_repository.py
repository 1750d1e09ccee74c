"""Moving a delivery on: every step is one conditional write, then whatever must be woken for it."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from replicate_proxy.observability import Metric, count, logger
from replicate_proxy.webhooks.commands import DeliverCommand
from replicate_proxy.webhooks.model import Attempt, Delivery, DeliveryStatus, Ending

if TYPE_CHECKING:
    from collections.abc import Sequence

    from replicate_proxy.webhooks.ports import DeliveryQueue, Outbox
    from replicate_proxy.webhooks.retry_policy import DeliverySettings


# More than one earlier delivery is pending only while a receiver fails; their number stays small.
_LINE = 8


class Progress:
    """A delivery's states in the outbox. Methods raise ConflictError where another worker was faster."""

    def __init__(self, *, outbox: Outbox, queue: DeliveryQueue, settings: DeliverySettings) -> None:
        self._outbox = outbox
        self._queue = queue
        self._settings = settings

    def line(self, command: DeliverCommand) -> tuple[Delivery | None, list[Delivery]]:
        """The delivery, and the pending ones of the same job to the same target that come before it."""
        line = self._outbox.line(
            command.tenant, command.job_id, command.target, up_to=command.sequence, limit=_LINE
        )
        if not line or line[0].sequence != command.sequence:
            return None, []
        return line[0], [other for other in line[1:] if other.is_pending]

    def record(self, attempt: Attempt) -> None:
        """Keeps an attempt; before the delivery moves on, so that none goes unrecorded."""
        self._outbox.record_attempt(attempt)

    def claim(self, delivery: Delivery, passed: Sequence[Delivery], now: datetime) -> Delivery:
        """Nobody else sends it while the lease runs; after a crash the sweep finds it at the lease's end."""
        lease_until = now + timedelta(seconds=self._settings.lease)
        for other in passed:
            # Not while this one is on its way: the two must not arrive in the wrong order.
            later = max(other.next_attempt_at, lease_until)
            self._outbox.save(replace(other, next_attempt_at=later, due_at=later))
        return self._outbox.save(
            replace(delivery, attempts=delivery.attempts + 1, lease_until=lease_until, due_at=lease_until)
        )

    def hold(self, delivery: Delivery, earlier: Sequence[Delivery], now: datetime) -> None:
        """The earlier one wakes this one when it ends; the sweep looks again in case that was lost."""
        next_try = max(other.next_attempt_at for other in earlier)
        due_at = max(next_try, now) + timedelta(seconds=self._settings.direct_delay)
        patience_ends = delivery.queued_at + timedelta(seconds=self._settings.order_patience)
        if now < patience_ends:
            due_at = min(due_at, patience_ends)
        self._outbox.save(replace(delivery, due_at=due_at))
        logger.info("delivery waits for an earlier one", delivery_id=delivery.id)

    def schedule(self, delivery: Delivery, at: datetime, now: datetime) -> None:
        """Soon: straight through the queue, with the sweep behind it. Later: the sweep's business alone."""
        delay = (at - now).total_seconds()
        soon = delay <= self._settings.direct_delay
        due_at = at + timedelta(seconds=self._settings.handover) if soon else at
        saved = self._outbox.save(replace(delivery, next_attempt_at=at, due_at=due_at, lease_until=None))
        if soon:
            self._queue.send([DeliverCommand.of(saved)], delay=delay)

    def succeed(self, delivery: Delivery, passed: Sequence[Delivery], now: datetime) -> DeliverCommand | None:
        """The end that everybody wants; earlier ones that this one overtook have nothing left to say.

        Gives whose turn it is now.
        """
        saved = self._outbox.save(
            replace(
                delivery,
                status=DeliveryStatus.SUCCEEDED,
                ending=None,
                finished_at=now,
                lease_until=None,
                due_at=None,
            )
        )
        for other in passed:
            self._supersede(other, now)
        return self._following(saved)

    def fail(self, delivery: Delivery, ending: Ending, now: datetime) -> DeliverCommand | None:
        """No further attempts unless somebody asks for a redelivery. Gives whose turn it is now."""
        saved = self._outbox.save(
            replace(
                delivery,
                status=DeliveryStatus.FAILED,
                ending=ending,
                finished_at=now,
                lease_until=None,
                due_at=None,
            )
        )
        logger.warning("delivery given up", delivery_id=delivery.id, reason=ending)
        count(Metric.DELIVERY_EXHAUSTED)
        return self._following(saved)

    def wake(self, command: DeliverCommand | None) -> None:
        """Has the next one in line attempted now."""
        if command is not None:
            self._queue.send([command])

    def _supersede(self, other: Delivery, now: datetime) -> None:
        current = self._outbox.get(other.tenant, other.job_id, other.sequence, other.target)
        if current is not None and current.is_pending:
            self._outbox.save(
                replace(current, status=DeliveryStatus.SUPERSEDED, finished_at=now, due_at=None)
            )

    def _following(self, delivery: Delivery) -> DeliverCommand | None:
        following = self._outbox.following(delivery)
        return DeliverCommand.of(following) if following is not None and following.is_pending else None
