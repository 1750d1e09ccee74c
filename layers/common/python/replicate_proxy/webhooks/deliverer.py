"""The order of a job's events at one target. Pure.

A later event waits while an earlier one to the same target is pending. It passes an earlier one only where
the receiver is up and keeps refusing that one, and after `order_patience`; if it then succeeds, the earlier
ones are closed as superseded, since its body says everything theirs did. An earlier one that finds nobody
there holds the line until its own schedule is used up, so every wait ends.

One delivery's turn: claim it, send it, record what came of it, decide what follows.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from replicate_proxy.errors import ConflictError
from replicate_proxy.ids import generate_id
from replicate_proxy.net.retry_after import parse_retry_after
from replicate_proxy.observability import Metric, count, logger, measure_seconds
from replicate_proxy.testing.checkpoints import Checkpoint, no_checkpoint
from replicate_proxy.webhooks.model import Attempt, Delivery, Ending, Verdict
from replicate_proxy.webhooks.receiver_limits import LaneFullError, waiting_seconds
from replicate_proxy.webhooks.retry_policy import next_attempt
from replicate_proxy.webhooks.sender import Answer, Instruction

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from replicate_proxy.ports import Clock
    from replicate_proxy.webhooks.commands import DeliverCommand
    from replicate_proxy.webhooks.delivery_repository import Progress
    from replicate_proxy.webhooks.ports import Sender
    from replicate_proxy.webhooks.receiver_limits import Receivers
    from replicate_proxy.webhooks.request_builder import Letters
    from replicate_proxy.webhooks.retry_policy import DeliverySettings


def blocking(
    delivery: Delivery, earlier: Sequence[Delivery], *, now: datetime, settings: DeliverySettings
) -> list[Delivery]:
    """The earlier deliveries, among those still pending, that this one has to wait for."""
    has_waited = now >= delivery.queued_at + timedelta(seconds=settings.order_patience)
    return [other for other in earlier if not (has_waited and _is_refused(other, now))]


def _is_refused(other: Delivery, now: datetime) -> bool:
    return other.verdict is Verdict.REFUSED and not other.is_leased(now)


# Machines' clocks differ by milliseconds, and a delayed message must not be early by that.
_CLOCK_SKEW = timedelta(seconds=1)
# Three requests, the first two quick, fit the function's minute with room to spare.
_IN_A_ROW = 3
_QUICK_SECONDS = 5.0
_ENDINGS = {
    Instruction.DISABLE_GONE: Ending.GONE,
    Instruction.DISABLE: Ending.ENDPOINT_DISABLED,
    Instruction.ABORT: Ending.ABORTED,
}


@dataclass(frozen=True, slots=True)
class Ready:
    """A claimed delivery, signed and about to be sent; `passed` are the earlier ones that it overtakes."""

    delivery: Delivery
    url: str
    headers: Mapping[str, str]
    body: bytes
    token: str
    passed: Sequence[Delivery]


class Deliverer:
    """Handles DeliverCommands: `begin`, the request, `finish`, apart so that a simulation can drive them."""

    def __init__(
        self,
        *,
        progress: Progress,
        letters: Letters,
        receivers: Receivers,
        sender: Sender,
        clock: Clock,
        settings: DeliverySettings,
        die: Callable[[], float] = random.random,
        checkpoint: Checkpoint = no_checkpoint,
    ) -> None:
        self._progress = progress
        self._letters = letters
        self._receivers = receivers
        self._sender = sender
        self._clock = clock
        self._settings = settings
        self._die = die
        self._checkpoint = checkpoint

    def deliver(self, command: DeliverCommand) -> None:
        """Attempts the delivery if it is due and its turn; anything else is left as it is.

        Those that waited for it follow at once, without a message of their own, while the receiver is quick.
        """
        following: DeliverCommand | None = command
        for _ in range(_IN_A_ROW):
            if following is None or (ready := self.begin(following)) is None:
                return
            self._checkpoint("deliver.delivery_claimed")
            answer = self._sender.post(ready.url, ready.headers, ready.body)
            self._checkpoint("deliver.request_sent")
            following = self.finish(ready, answer)
            self._checkpoint("deliver.result_stored")
            if answer.duration > _QUICK_SECONDS:
                break
        self._progress.wake(following)

    def begin(self, command: DeliverCommand) -> Ready | None:
        """The request to send now, or None where there is nothing to send."""
        now = self._clock.now()
        delivery, earlier = self._progress.line(command)
        if delivery is None or not self._is_due(delivery, now):
            return None
        try:
            return self._prepare(delivery, earlier, now)
        except ConflictError:
            logger.info("delivery taken by another worker", delivery_id=delivery.id)
            return None

    def finish(self, ready: Ready, answer: Answer) -> DeliverCommand | None:
        """Records the attempt and moves the delivery on; gives whose turn it is now, if this was its end."""
        now = self._clock.now()
        taken = answer.verdict is Verdict.TAKEN
        delivery = replace(ready.delivery, tries=ready.delivery.tries + 1, verdict=answer.verdict)
        ending = _ENDINGS.get(answer.instruction) if answer.instruction and not taken else None
        again = None if taken or ending else self._next(delivery, answer, now)
        self._record(delivery, answer, again, now)
        self._checkpoint("deliver.attempt_stored")
        self._receivers.settle(delivery, ready.token, answer, now)
        try:
            if taken:
                return self._progress.succeed(delivery, ready.passed, now)
            if again is None:
                return self._progress.fail(delivery, ending or Ending.EXHAUSTED, now)
            self._progress.schedule(delivery, again, now)
        except ConflictError:
            logger.warning("delivery moved on during its attempt", delivery_id=delivery.id)
        return None

    def _is_due(self, delivery: Delivery, now: datetime) -> bool:
        """Whoever set a later time has arranged the wake-up for it, so an early message is simply dropped."""
        early = delivery.next_attempt_at > now + _CLOCK_SKEW
        return delivery.is_pending and not early and not delivery.is_leased(now)

    def _prepare(self, delivery: Delivery, earlier: Sequence[Delivery], now: datetime) -> Ready | None:
        if now - delivery.queued_at > timedelta(seconds=self._settings.give_up_after):
            self._progress.wake(self._progress.fail(delivery, Ending.EXPIRED, now))
            return None
        if waits_for := blocking(delivery, earlier, now=now, settings=self._settings):
            self._progress.hold(delivery, waits_for, now)
            return None
        letter = self._letters.write(delivery, now)
        if isinstance(letter, Ending):
            self._progress.wake(self._progress.fail(delivery, letter, now))
            return None
        token = generate_id(now)
        try:
            self._receivers.enter(delivery, token, now)
        except LaneFullError as full:
            wait = waiting_seconds(full.hangs, self._settings) * (0.5 + self._die())
            self._progress.schedule(delivery, now + timedelta(seconds=wait), now)
            return None
        try:
            claimed = self._progress.claim(delivery, earlier, now)
        except ConflictError:
            self._receivers.leave(delivery, token)
            raise
        return Ready(claimed, letter.url, letter.headers, letter.body, token, earlier)

    def _next(self, delivery: Delivery, answer: Answer, now: datetime) -> datetime | None:
        asked = parse_retry_after(answer.retry_after, now)
        return next_attempt(self._settings, tries=delivery.tries, now=now, retry_after=asked, die=self._die)

    def _record(self, delivery: Delivery, answer: Answer, again: datetime | None, now: datetime) -> None:
        retention = timedelta(days=self._settings.retention_days)
        self._progress.record(
            Attempt(
                tenant=delivery.tenant,
                job_id=delivery.job_id,
                sequence=delivery.sequence,
                target=delivery.target,
                number=delivery.attempts,
                at=now - timedelta(seconds=answer.duration),
                verdict=answer.verdict,
                duration_ms=round(answer.duration * 1000),
                status=answer.status,
                error=answer.failure,
                answer=answer.text,
                next_attempt_at=again,
                expires_at=int((now + retention).timestamp()),
            )
        )
        taken = answer.verdict is Verdict.TAKEN
        count(Metric.DELIVERY_SUCCEEDED if taken else Metric.DELIVERY_FAILED)
        measure_seconds(Metric.DELIVERY_SECONDS, answer.duration)
        logger.info(
            "delivery attempted",
            delivery_id=delivery.id,
            number=delivery.attempts,
            status=answer.status,
            failure=answer.failure,
            milliseconds=round(answer.duration * 1000),
        )
