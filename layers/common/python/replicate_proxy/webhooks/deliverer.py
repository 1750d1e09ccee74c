"""Attempt one delivery: claim it, send the request, record the response, decide what follows.

Ordering: deliveries of one job to one target are sent in the order of their events. A later one waits while
an earlier one is pending. It overtakes an earlier one only if the receiver is up and keeps rejecting that
one, and only after `ordering_timeout_seconds`. If it then succeeds, the earlier ones are superseded, since
its body contains everything theirs did; while it is unknown whether the receiver took it, they wait for it.
An earlier one whose receiver is unavailable blocks the later ones until its schedule is used up, so every
wait ends.

While an operator has paused deliveries, those that are due stay so and nothing is sent. The time of a pause
counts neither for the age of a delivery nor for its ordering timeout.

A success is saved before anything else about it: whatever fails afterwards, it is not sent again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from random import SystemRandom
from typing import TYPE_CHECKING

from replicate_proxy.clock import format_optional_timestamp
from replicate_proxy.errors import ConflictError, ProxyError
from replicate_proxy.ids import generate_id
from replicate_proxy.net.retry_after import parse_retry_after
from replicate_proxy.observability import Metric, count, logger, record_seconds
from replicate_proxy.outputs.private_urls import UrlSigningError
from replicate_proxy.testing.checkpoints import Checkpoint, no_checkpoint
from replicate_proxy.webhooks.commands import DeliverCommand
from replicate_proxy.webhooks.model import (
    MISSED_REASONS,
    Attempt,
    AttemptResult,
    Delivery,
    FailureReason,
)
from replicate_proxy.webhooks.receiver_limits import ConcurrencyLimitError, calculate_slot_delay_seconds
from replicate_proxy.webhooks.retry_policy import calculate_next_attempt_at
from replicate_proxy.webhooks.sender import ReceiverInstruction, ReceiverResponse

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from replicate_proxy.pauses.pause import Pause
    from replicate_proxy.ports import Clock
    from replicate_proxy.webhooks.delivery_updater import DeliveryUpdater, LoadedDelivery
    from replicate_proxy.webhooks.endpoint_health import EndpointHealth
    from replicate_proxy.webhooks.ports import ReceiverLimitStore, Sender
    from replicate_proxy.webhooks.request_builder import RequestBuilder, SignedRequest
    from replicate_proxy.webhooks.settings import DeliverySettings


# Not the module's own source, which would be the same in all environments that SnapStart makes of one.
_RANDOM = SystemRandom()
# The clocks of two machines differ by milliseconds: a delayed message may arrive that much early.
_CLOCK_SKEW = timedelta(seconds=1)
# Three requests, the first two quick, fit into the function's timeout of a minute.
_MAX_REQUESTS_PER_MESSAGE = 3
_QUICK_SECONDS = 5.0
_FAILURE_REASON_BY_INSTRUCTION = {
    ReceiverInstruction.GONE: FailureReason.GONE,
    ReceiverInstruction.DISABLE: FailureReason.ENDPOINT_DISABLED,
    ReceiverInstruction.ABORT: FailureReason.ABORTED,
}


@dataclass(frozen=True, slots=True)
class PreparedDelivery:
    """A claimed delivery with its signed request.

    `supersedes` are the earlier deliveries that it supersedes if it succeeds.
    """

    delivery: Delivery
    request: SignedRequest
    slot_token: str
    supersedes: Sequence[Delivery]


class Deliverer:
    """Handles DeliverCommands.

    `prepare`, the request and `finish` are separate so that a simulation can let time pass between them.
    """

    def __init__(  # noqa: PLR0913 - a delivery needs every one of them
        self,
        *,
        updater: DeliveryUpdater,
        request_builder: RequestBuilder,
        receiver_limits: ReceiverLimitStore,
        endpoint_health: EndpointHealth,
        sender: Sender,
        clock: Clock,
        settings: DeliverySettings,
        find_pause: Callable[[str], Pause | None] = lambda _tenant: None,
        random_fraction: Callable[[], float] = _RANDOM.random,
        checkpoint: Checkpoint = no_checkpoint,
    ) -> None:
        self._updater = updater
        self._request_builder = request_builder
        self._receiver_limits = receiver_limits
        self._endpoint_health = endpoint_health
        self._sender = sender
        self._clock = clock
        self._settings = settings
        self._find_pause = find_pause
        self._random_fraction = random_fraction
        self._checkpoint = checkpoint

    def deliver(self, command: DeliverCommand) -> None:
        """Attempt the delivery if it is due and not blocked; otherwise do nothing.

        The deliveries that waited for it follow in the same invocation, without a message of their own, as
        long as the receiver responds quickly.
        """
        next_command: DeliverCommand | None = command
        for _ in range(_MAX_REQUESTS_PER_MESSAGE):
            if next_command is None or (prepared := self.prepare(next_command)) is None:
                return
            self._checkpoint("deliver.delivery_claimed")
            request = prepared.request
            response = self._sender.post(request.url, request.headers, request.body)
            self._checkpoint("deliver.request_sent")
            next_command = self.finish(prepared, response)
            self._checkpoint("deliver.result_stored")
            if response.duration_seconds > _QUICK_SECONDS:
                break
        self._updater.enqueue_next(next_command)

    def prepare(self, command: DeliverCommand) -> PreparedDelivery | None:
        """Claim the delivery and build its request; return None if there is nothing to send now."""
        now = self._clock.now()
        loaded = self._updater.load(command)
        if loaded is None or not _is_due(loaded.delivery, now):
            status = loaded.delivery.status.value if loaded else ""
            reason = f"it is {status} and not due" if loaded else "it does not exist"
            logger.info("deliver command ignored", sequence=command.sequence, reason=reason)
            self._updater.enqueue_next(_find_waiting(loaded, now) if loaded else None)
            return None
        try:
            return self._prepare(loaded, now)
        except ConflictError:
            logger.info("delivery taken by another worker", delivery_id=loaded.delivery.id)
            return None

    def _prepare(self, loaded: LoadedDelivery, now: datetime) -> PreparedDelivery | None:
        delivery = loaded.delivery
        if loaded.is_overtaken:
            self._updater.mark_superseded(delivery, now)
            return None
        if pause := self._find_pause(delivery.tenant):
            self._updater.hold(delivery, pause, now)
            return None
        delivery = delivery.end_pause(now)
        loaded = replace(loaded, delivery=delivery)
        if delivery.calculate_age(now) > timedelta(seconds=self._settings.max_age_seconds):
            self._updater.enqueue_next(self._fail(delivery, FailureReason.EXPIRED, now))
            return None
        if blocking := find_blocking(loaded, now=now, settings=self._settings):
            self._updater.defer(delivery, blocking, now)
            return None
        request = self._build_request(delivery, now)
        return self._claim(delivery, request, loaded.earlier) if request is not None else None

    def _build_request(self, delivery: Delivery, now: datetime) -> SignedRequest | None:
        """Return the request, or None after the delivery is failed or postponed."""
        try:
            request = self._request_builder.build(delivery, now)
        except UrlSigningError as error:
            # An operator has to correct that. URLs that open nothing are not sent, and no attempt is spent.
            logger.error("delivery postponed", delivery_id=delivery.id, reason=str(error))
            self._updater.reschedule(delivery, now + timedelta(seconds=error.retry_after or 0), now)
            return None
        if isinstance(request, FailureReason):
            self._updater.enqueue_next(self._fail(delivery, request, now))
            return None
        return request

    def finish(self, prepared: PreparedDelivery, response: ReceiverResponse) -> DeliverCommand | None:
        """End the delivery or schedule its next attempt, and record the attempt.

        Returns the command of the next delivery that waited for this one, if this one has ended.
        """
        now = self._clock.now()
        delivery = replace(
            prepared.delivery,
            schedule_attempts=prepared.delivery.schedule_attempts + 1,
            last_result=response.result,
            lease_until=None,
        )
        if response.result is AttemptResult.DELIVERED:
            return self._finish_delivered(delivery, prepared, response, now)
        reason: FailureReason | None = None
        retry_at: datetime | None = None
        if response.instruction is not None:
            reason = _FAILURE_REASON_BY_INSTRUCTION[response.instruction]
        else:
            retry_at = calculate_next_attempt_at(
                self._settings,
                failed_attempts=delivery.schedule_attempts,
                now=now,
                retry_after_seconds=parse_retry_after(response.retry_after, now),
                random_fraction=self._random_fraction,
            )
        # A failure is sent again anyway: its record comes first, so that a crash loses no attempt.
        self._record_attempt(delivery, prepared, response, retry_at, now)
        try:
            if retry_at is None:
                return self._fail(delivery, reason or FailureReason.EXHAUSTED, now)
            self._updater.reschedule(delivery, retry_at, now)
        except ConflictError:
            logger.warning("delivery changed during its attempt", delivery_id=delivery.id)
        return None

    def _finish_delivered(
        self, delivery: Delivery, prepared: PreparedDelivery, response: ReceiverResponse, now: datetime
    ) -> DeliverCommand | None:
        """Save the success; what follows from it is not worth sending the request again."""
        try:
            self._updater.mark_succeeded(delivery, now)
        except ConflictError:
            logger.warning("delivery changed during its attempt", delivery_id=delivery.id)
            return None
        finally:
            try:
                self._record_attempt(delivery, prepared, response, None, now)
            except ProxyError as error:
                logger.warning("attempt not recorded", delivery_id=delivery.id, reason=str(error))
        try:
            self._updater.supersede_earlier(prepared.supersedes, now)
            return self._updater.find_next(delivery)
        except ProxyError as error:
            logger.warning("next delivery left to sweep", delivery_id=delivery.id, reason=str(error))
            return None

    def _claim(
        self, delivery: Delivery, request: SignedRequest, earlier: Sequence[Delivery]
    ) -> PreparedDelivery | None:
        """Acquire a slot of the receiver and claim the delivery; reschedule it if no slot is free.

        Raises ConflictError if another worker has claimed it.
        """
        now = self._clock.now()
        slot_token = generate_id(now)
        tenant, receiver_id = delivery.tenant, delivery.receiver_id
        try:
            self._receiver_limits.acquire_slot(tenant, receiver_id, slot_token, now=now)
        except ConcurrencyLimitError as error:
            delay = calculate_slot_delay_seconds(error.consecutive_unanswered, self._settings)
            jittered = timedelta(seconds=delay * (0.5 + self._random_fraction()))
            logger.info(
                "delivery postponed",
                delivery_id=delivery.id,
                reason="the receiver has no free slot",
                delay_seconds=jittered.total_seconds(),
            )
            self._updater.reschedule(delivery, now + jittered, now)
            return None
        try:
            # A lease that began before a slow call would end before the request.
            claimed = self._updater.claim(delivery, earlier, self._clock.now())
        except ConflictError:
            self._receiver_limits.release_slot(tenant, receiver_id, slot_token)
            raise
        return PreparedDelivery(claimed, request, slot_token, earlier)

    def _fail(self, delivery: Delivery, reason: FailureReason, now: datetime) -> DeliverCommand | None:
        """End the delivery as failed; return the command of the next one to attempt.

        If the endpoint is enabled while this is written, the search for what it missed may come too early:
        then this delivery starts again.
        """
        failed = self._updater.mark_failed(delivery, reason, now)
        if reason in MISSED_REASONS and self._request_builder.is_endpoint_enabled(delivery):
            return self._updater.restart(failed, now)
        return self._updater.find_next(failed)

    def _record_attempt(
        self,
        delivery: Delivery,
        prepared: PreparedDelivery,
        response: ReceiverResponse,
        retry_at: datetime | None,
        now: datetime,
    ) -> None:
        """Store the attempt, and release its slot with its effect on the receiver's health."""
        duration_ms = round(response.duration_seconds * 1000)
        self._updater.record_attempt(
            Attempt(
                tenant=delivery.tenant,
                job_id=delivery.job_id,
                sequence=delivery.sequence,
                target=delivery.target,
                number=delivery.total_attempts,
                sent_at=now - timedelta(seconds=response.duration_seconds),
                result=response.result,
                duration_ms=duration_ms,
                status=response.status,
                error_code=response.error_code,
                response_body=response.body,
                next_attempt_at=retry_at,
                expires_at=self._settings.calculate_expiry(now),
            )
        )
        is_delivered = response.result is AttemptResult.DELIVERED
        count(Metric.DELIVERY_SUCCEEDED if is_delivered else Metric.DELIVERY_ATTEMPT_FAILED)
        record_seconds(Metric.DELIVERY_SECONDS, response.duration_seconds)
        logger.info(
            "delivery attempted",
            delivery_id=delivery.id,
            number=delivery.total_attempts,
            status=response.status,
            error_code=response.error_code,
            duration_ms=duration_ms,
            next_attempt_at=format_optional_timestamp(retry_at),
        )
        self._checkpoint("deliver.attempt_stored")
        self._endpoint_health.record_response(
            delivery, prepared.slot_token, response, now, url=prepared.request.url
        )


def find_blocking(loaded: LoadedDelivery, *, now: datetime, settings: DeliverySettings) -> list[Delivery]:
    """Return the pending deliveries that this one must wait for.

    These are earlier ones, and for one that was overtaken the later ones that the receiver may have accepted.
    """
    delivery = loaded.delivery
    overtaking: list[Delivery] = []
    if delivery.last_result is AttemptResult.REJECTED:
        overtaking = [other for other in loaded.later if other.may_have_arrived]
    if delivery.calculate_age(now) < timedelta(seconds=settings.ordering_timeout_seconds):
        return [*loaded.earlier, *overtaking]
    return [other for other in loaded.earlier if not _is_rejected(other, now)] + overtaking


def _is_rejected(delivery: Delivery, now: datetime) -> bool:
    return delivery.last_result is AttemptResult.REJECTED and not delivery.is_leased(now)


def _find_waiting(loaded: LoadedDelivery, now: datetime) -> DeliverCommand | None:
    """Return the command of the first later delivery that is pending, if the loaded one has ended.

    The worker that ended it may have looked for the next one before that was stored, and there is one message
    for the new deliveries of a job to a target.
    """
    if loaded.delivery.is_pending:
        return None
    pending = [other for other in loaded.later if other.is_pending]
    return DeliverCommand.for_delivery(pending[-1]) if pending and _is_due(pending[-1], now) else None


def _is_due(delivery: Delivery, now: datetime) -> bool:
    """Return whether the delivery may be attempted now.

    An early message is dropped: whoever set the later time has also arranged the message for it.
    """
    is_early = delivery.next_attempt_at > now + _CLOCK_SKEW
    return delivery.is_pending and not is_early and not delivery.is_leased(now)
