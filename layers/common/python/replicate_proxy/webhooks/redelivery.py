"""Send deliveries again on request: one, all failed ones since a time, and test events.

A redelivery sends the same event: same ID, same bytes. Its retry schedule starts again, and its attempts are
added to the earlier ones.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple, Self

from replicate_proxy.clock import format_timestamp
from replicate_proxy.errors import ApiError, ConflictError, NotFoundError
from replicate_proxy.ids import generate_id
from replicate_proxy.jobs.model import Document
from replicate_proxy.observability import logger
from replicate_proxy.webhooks.commands import DeliverCommand
from replicate_proxy.webhooks.events import build_message_id
from replicate_proxy.webhooks.model import (
    MISSED_REASONS,
    PREDICTION_TARGET,
    Delivery,
    DeliveryStatus,
    EventKind,
    StoredEvent,
    parse_delivery_id,
)
from replicate_proxy.webhooks.ports import DeliveryPosition
from replicate_proxy.webhooks.retry_policy import restart_schedule

if TYPE_CHECKING:
    from collections.abc import Callable

    from replicate_proxy.ports import Clock
    from replicate_proxy.webhooks.endpoints import Endpoint, MissedSearch
    from replicate_proxy.webhooks.ports import DeliveryQueue, DeliveryStore, EndpointStore
    from replicate_proxy.webhooks.settings import DeliverySettings


_PAGE_SIZE = 100
_MAX_PAGES = 5
# One of several requests at the same time disables the endpoint; the others may have ended before it.
_MISSED_MARGIN = timedelta(minutes=1)


class TenantPosition(NamedTuple):
    """Where a redelivery to all targets of a tenant stopped.

    The fields after `target` are a DeliveryPosition; they are empty before the target's first delivery.
    """

    target: str
    job_id: str = ""
    sort_key: str = ""
    at: str = ""

    @classmethod
    def parse(cls, target: str, job_id: str = "", sort_key: str = "", at: str = "") -> Self:
        """Return the position in a cursor. Raises ValueError if no call can have stopped there."""
        within_target = (job_id, sort_key, at)
        if any(within_target):
            DeliveryPosition.parse(*within_target)
        return cls(target, *within_target)

    @property
    def within_target(self) -> DeliveryPosition | None:
        return DeliveryPosition(self.job_id, self.sort_key, self.at) if self.job_id else None


@dataclass(frozen=True, slots=True)
class RedeliveryResult:
    """How many deliveries were enqueued. `next_position` continues the call, None if it is complete."""

    count: int
    next_position: DeliveryPosition | TenantPosition | None


def _waits_after_failure(delivery: Delivery) -> bool:
    return delivery.is_pending and delivery.schedule_attempts > 0


def _has_failed(delivery: Delivery) -> bool:
    """Return whether the delivery failed, or waits after a failed attempt."""
    return delivery.status is DeliveryStatus.FAILED or _waits_after_failure(delivery)


class RedeliveryService:
    """Use cases of the redelivery routes."""

    def __init__(
        self,
        *,
        deliveries: DeliveryStore,
        endpoints: EndpointStore,
        queue: DeliveryQueue,
        clock: Clock,
        settings: DeliverySettings,
    ) -> None:
        self._deliveries = deliveries
        self._endpoints = endpoints
        self._queue = queue
        self._clock = clock
        self._settings = settings

    def get_delivery(self, tenant: str, delivery_id: str) -> Delivery:
        """Return a delivery. Raises NotFoundError if the tenant has no such delivery."""
        key = parse_delivery_id(delivery_id)
        delivery = self._deliveries.get(tenant, *key) if key else None
        if delivery is None:
            raise NotFoundError("no such delivery")
        return delivery

    def redeliver(self, tenant: str, delivery_id: str) -> Delivery:
        """Enqueue a delivery now, whether it failed, succeeded or waits for its next attempt.

        Raises NotFoundError, or a 409 ApiError if the endpoint is disabled or deleted, or an attempt is in
        progress.
        """
        delivery = self.get_delivery(tenant, delivery_id)
        endpoint = self._endpoints.get(tenant, delivery.target)
        if delivery.target != PREDICTION_TARGET:
            _require_enabled(endpoint)
        try:
            saved = self._restart_schedule(delivery)
        except ConflictError:
            saved = None
        if saved is None:
            raise ApiError(
                409,
                "Attempt in progress",
                "An attempt of this delivery is in progress; try again in a minute",
            )
        self._queue.send([DeliverCommand.for_delivery(saved)])
        return saved

    def redeliver_to_endpoint(
        self, endpoint: Endpoint, since: datetime, *, after: DeliveryPosition | None = None
    ) -> RedeliveryResult:
        """Do `redeliver_failed` for an endpoint. Raises a 409 ApiError if it is disabled."""
        _require_enabled(endpoint)
        return self.redeliver_failed(endpoint.tenant, endpoint.id, since, after=after)

    def redeliver_failed(
        self,
        tenant: str,
        target: str,
        since: datetime,
        *,
        after: DeliveryPosition | None = None,
        is_wanted: Callable[[Delivery], bool] = _has_failed,
    ) -> RedeliveryResult:
        """Enqueue a target's failed deliveries created since a time, oldest first, at most 500 a call.

        So are those whose last attempt failed, which else wait up to a day for the next one although the
        receiver works again.
        """
        count = 0
        for _ in range(_MAX_PAGES):
            page = self._deliveries.list_by_target(
                tenant, target, since=since, after=after, limit=_PAGE_SIZE, oldest_first=True
            )
            count += self._redeliver_all([delivery for delivery in page.deliveries if is_wanted(delivery)])
            after = page.next_position
            if after is None:
                break
        logger.info("deliveries enqueued again", target=target, count=count, complete=after is None)
        return RedeliveryResult(count, after)

    def redeliver_missed(
        self, endpoint: Endpoint, missed_since: datetime, *, after: DeliveryPosition | None = None
    ) -> RedeliveryResult:
        """Enqueue what an endpoint missed while it was disabled, and what still waits for its next attempt.

        A delivery that was pending when the endpoint was disabled can be as old as a delivery may get. What
        failed before is not sent: the tenant has enabled the endpoint without it. What was enqueued since the
        enabling, which is the endpoint's last change, keeps its schedule.
        """

        def is_wanted(delivery: Delivery) -> bool:
            waits = _waits_after_failure(delivery) and delivery.schedule_started_at < endpoint.updated_at
            return waits or _was_missed(delivery, missed_since)

        since = missed_since - timedelta(seconds=self._settings.max_age_seconds)
        return self.redeliver_failed(endpoint.tenant, endpoint.id, since, after=after, is_wanted=is_wanted)

    def continue_missed_search(self, tenant: str, endpoint_id: str) -> None:
        """Search once more for what an endpoint missed before it was enabled, or go on with that search.

        The search at the moment of enabling misses what is written or shown in the index after it.
        """
        endpoint = self._endpoints.get(tenant, endpoint_id)
        search = endpoint.missed_search if endpoint is not None else None
        now = self._clock.now()
        if endpoint is None or search is None or search.due_at > now:
            return
        remaining: MissedSearch | None = None
        unsearched_since: datetime | None = None
        if endpoint.is_enabled:
            position = self.redeliver_missed(endpoint, search.disabled_at, after=search.after).next_position
            if isinstance(position, DeliveryPosition):
                remaining = replace(search, due_at=now, after=position)
        else:  # The next enabling searches for what a disabled endpoint misses.
            unsearched_since = endpoint.missed_since
        with suppress(ConflictError):  # The owner changed the endpoint: the next sweep repeats the search.
            self._endpoints.save(
                replace(endpoint, missed_search=remaining, unsearched_since=unsearched_since)
            )

    def redeliver_all_failed(
        self, tenant: str, since: datetime, *, after: TenantPosition | None = None
    ) -> RedeliveryResult:
        """Enqueue the failed deliveries to predictions' own webhooks and to every enabled endpoint."""
        after = after or TenantPosition(PREDICTION_TARGET)
        targets = self._list_targets(tenant, after.target)
        # If the target is missing, its endpoint was deleted or disabled meanwhile.
        within_target = after.within_target if targets[:1] == [after.target] else None
        count = 0
        for index, target in enumerate(targets):
            result = self.redeliver_failed(tenant, target, since, after=within_target)
            within_target = None
            count += result.count
            if result.next_position is not None:
                return RedeliveryResult(count, TenantPosition(target, *result.next_position))
            if count >= _PAGE_SIZE * _MAX_PAGES and index + 1 < len(targets):
                return RedeliveryResult(count, TenantPosition(targets[index + 1]))
        return RedeliveryResult(count, None)

    def send_test_event(self, endpoint: Endpoint, *, base_url: str) -> Delivery:
        """Send a test event, to check that the receiver responds and verifies the signature."""
        now = self._clock.now()
        job_id = generate_id(now)
        expires_at = self._settings.calculate_expiry(now)
        message_id = build_message_id(endpoint.tenant, job_id, EventKind.TEST, 0)
        body_text = json.dumps(_build_test_body(job_id, now, base_url))
        event = StoredEvent(
            tenant=endpoint.tenant,
            job_id=job_id,
            sequence=0,
            kind=EventKind.TEST,
            message_id=message_id,
            created_at=now,
            body=Document(text=json.dumps(body_text)),
            expires_at=expires_at,
        )
        delivery = Delivery(
            tenant=endpoint.tenant,
            job_id=job_id,
            sequence=0,
            target=endpoint.id,
            kind=EventKind.TEST,
            message_id=message_id,
            url=None,
            created_at=now,
            schedule_started_at=now,
            next_attempt_at=now,
            due_at=now + timedelta(seconds=self._settings.requeue_after_seconds),
            expires_at=expires_at,
        )
        self._deliveries.create_event(event)
        self._deliveries.create(delivery)
        self._queue.send([DeliverCommand.for_delivery(delivery)])
        return delivery

    def _list_targets(self, tenant: str, first_target: str) -> list[str]:
        """Return the targets from `first_target` on: predictions' own webhooks, then endpoints by ID."""
        endpoints = [endpoint.id for endpoint in self._endpoints.list_all(tenant) if endpoint.is_enabled]
        if first_target == PREDICTION_TARGET:
            return [PREDICTION_TARGET, *endpoints]
        return [endpoint_id for endpoint_id in endpoints if endpoint_id >= first_target]

    def _redeliver_all(self, deliveries: list[Delivery]) -> int:
        restarted: list[Delivery] = []
        for delivery in deliveries:
            try:
                saved = self._restart_schedule(delivery)
            except ConflictError:
                continue  # It changed since it was read: an attempt or another redelivery was faster.
            if saved is not None:
                restarted.append(saved)
        self._queue.send([DeliverCommand.for_delivery(delivery) for delivery in restarted])
        return len(restarted)

    def _restart_schedule(self, delivery: Delivery) -> Delivery | None:
        """Save the delivery as due now with a new schedule; return None while an attempt is in progress."""
        now = self._clock.now()
        if delivery.is_pending and delivery.is_leased(now):
            return None
        return self._deliveries.save(restart_schedule(delivery, now, self._settings))


def _require_enabled(endpoint: Endpoint | None) -> None:
    """Raise a 409 ApiError if the endpoint is disabled or deleted: what is sent to it fails at once."""
    if endpoint is None or not endpoint.is_enabled:
        raise ApiError(409, "Endpoint disabled", "Enable the endpoint before redelivering to it")


def _was_missed(delivery: Delivery, missed_since: datetime) -> bool:
    """Return whether an endpoint that was disabled at that time has missed the delivery."""
    if delivery.failure_reason not in MISSED_REASONS:
        return False
    finished_at = delivery.finished_at or missed_since
    return finished_at >= missed_since - _MISSED_MARGIN


def _build_test_body(job_id: str, now: datetime, base_url: str) -> dict[str, object]:
    """Return a prediction that does not exist; `starting`, so that no receiver takes it for a result."""
    url = f"{base_url}/v1/predictions/{job_id}"
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
        "urls": {"get": url, "cancel": f"{url}/cancel"},
        "proxy": {"event": EventKind.TEST.value, "sequence": 0},
    }
