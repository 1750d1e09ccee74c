"""In-memory implementations of the ports of webhook delivery, and a fake receiver."""

from __future__ import annotations

import heapq
import itertools
import json
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from replicate_proxy.aws.delivery_records import attempt_prefix, delivery_sk
from replicate_proxy.clock import format_timestamp
from replicate_proxy.errors import ConflictError, RetryableError
from replicate_proxy.webhooks.commands import DeliverCommand
from replicate_proxy.webhooks.model import AttemptResult, ErrorCode
from replicate_proxy.webhooks.ports import AttemptPage, DeliveryPage, DeliveryPosition, DueDelivery
from replicate_proxy.webhooks.receiver_limits import (
    ConcurrencyLimitError,
    ReceiverHealth,
    calculate_allowed_concurrency,
)
from replicate_proxy.webhooks.sender import ReceiverResponse, classify_response
from replicate_proxy.webhooks.signing_secrets import generate_signing_secret

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from replicate_proxy.webhooks.endpoints import Endpoint
    from replicate_proxy.webhooks.model import Attempt, Delivery, StoredEvent
    from replicate_proxy.webhooks.settings import DeliverySettings
    from replicate_proxy.webhooks.signing_secrets import SigningSecret
    from tests.support.clock import FakeClock

_MAX_DELAY_SECONDS = 900


class FakeDeliveryStore:
    """The DeliveryStore port. All due deliveries are in shard 0."""

    def __init__(self) -> None:
        self.events: dict[tuple[str, str, int], StoredEvent] = {}
        self.deliveries: dict[tuple[str, str, int, str], Delivery] = {}
        self.recorded_attempts: list[Attempt] = []

    def create_event(self, event: StoredEvent) -> None:
        self.events.setdefault((event.tenant, event.job_id, event.sequence), event)

    def get_event(self, tenant: str, job_id: str, sequence: int) -> StoredEvent | None:
        return self.events.get((tenant, job_id, sequence))

    def create(self, delivery: Delivery) -> bool:
        is_new = _key(delivery) not in self.deliveries
        self.deliveries.setdefault(_key(delivery), delivery)
        return is_new

    def get(self, tenant: str, job_id: str, sequence: int, target: str) -> Delivery | None:
        return self.deliveries.get((tenant, job_id, sequence, target))

    def list_latest(
        self, tenant: str, job_id: str, target: str, *, up_to_sequence: int | None = None, limit: int
    ) -> Sequence[Delivery]:
        deliveries = self._list_by_job_and_target(tenant, job_id, target)
        up_to = [
            delivery
            for delivery in deliveries
            if up_to_sequence is None or delivery.sequence <= up_to_sequence
        ]
        return up_to[::-1][:limit]

    def get_next(self, delivery: Delivery) -> Delivery | None:
        deliveries = self._list_by_job_and_target(delivery.tenant, delivery.job_id, delivery.target)
        return next((later for later in deliveries if later.sequence > delivery.sequence), None)

    def save(self, delivery: Delivery) -> Delivery:
        stored = self.deliveries.get(_key(delivery))
        if stored is None or stored.revision != delivery.revision:
            raise ConflictError("save delivery")
        saved = replace(delivery, revision=delivery.revision + 1)
        self.deliveries[_key(delivery)] = saved
        return saved

    def record_attempt(self, attempt: Attempt) -> None:
        self.recorded_attempts.append(attempt)

    def list_by_job(self, tenant: str, job_id: str) -> Sequence[Delivery]:
        deliveries = [
            delivery
            for delivery in self.deliveries.values()
            if (delivery.tenant, delivery.job_id) == (tenant, job_id)
        ]
        return sorted(deliveries, key=lambda delivery: (delivery.sequence, delivery.target))

    def list_attempts_by_job(self, tenant: str, job_id: str) -> Sequence[Attempt]:
        attempts = [
            attempt
            for attempt in self.recorded_attempts
            if (attempt.tenant, attempt.job_id) == (tenant, job_id)
        ]
        return sorted(attempts, key=lambda attempt: attempt.sent_at)

    def list_attempts(self, delivery: Delivery) -> Sequence[Attempt]:
        attempts = [
            attempt
            for attempt in self.list_attempts_by_job(delivery.tenant, delivery.job_id)
            if (attempt.sequence, attempt.target) == (delivery.sequence, delivery.target)
        ]
        return sorted(attempts, key=lambda attempt: attempt.number)

    def list_by_target(
        self,
        tenant: str,
        target: str,
        *,
        since: datetime | None,
        after: DeliveryPosition | None,
        limit: int,
        oldest_first: bool,
    ) -> DeliveryPage:
        deliveries = [
            delivery
            for delivery in self.deliveries.values()
            if (delivery.tenant, delivery.target) == (tenant, target)
            and (since is None or delivery.created_at >= since)
        ]
        deliveries.sort(
            key=lambda delivery: (delivery.created_at, delivery.sequence), reverse=not oldest_first
        )
        return DeliveryPage(
            *_slice_page(
                deliveries, after, limit, get_position=_get_delivery_position, oldest_first=oldest_first
            )
        )

    def list_attempts_by_target(
        self, tenant: str, target: str, *, after: DeliveryPosition | None, limit: int
    ) -> AttemptPage:
        attempts = [
            attempt
            for attempt in self.recorded_attempts
            if (attempt.tenant, attempt.target) == (tenant, target)
        ]
        attempts.sort(key=lambda attempt: attempt.sent_at, reverse=True)
        return AttemptPage(
            *_slice_page(attempts, after, limit, get_position=_get_attempt_position, oldest_first=False)
        )

    def list_due(self, shard: int, *, before: datetime, limit: int) -> Sequence[DueDelivery]:
        if shard:
            return []
        due = [
            DueDelivery(DeliverCommand.for_delivery(delivery), delivery.due_at)
            for delivery in self.deliveries.values()
            if delivery.due_at is not None and delivery.due_at <= before
        ]
        return sorted(due, key=lambda row: row.due_at)[:limit]

    def postpone(self, due: DueDelivery, *, due_at: datetime, paused_since: datetime | None = None) -> None:
        command = due.command
        key = (command.tenant, command.job_id, command.sequence, command.target)
        delivery = self.deliveries[key]
        if delivery.due_at == due.due_at:
            paused_since = delivery.paused_since or paused_since
            self.deliveries[key] = replace(delivery, due_at=due_at, paused_since=paused_since)

    def _list_by_job_and_target(self, tenant: str, job_id: str, target: str) -> list[Delivery]:
        return [delivery for delivery in self.list_by_job(tenant, job_id) if delivery.target == target]


class FakeEndpointStore:
    """The EndpointStore port."""

    def __init__(self) -> None:
        self.endpoints: dict[tuple[str, str], Endpoint] = {}

    def create(self, endpoint: Endpoint) -> None:
        if (endpoint.tenant, endpoint.id) in self.endpoints:
            raise ConflictError("create endpoint")
        self.endpoints[endpoint.tenant, endpoint.id] = endpoint

    def get(self, tenant: str, endpoint_id: str) -> Endpoint | None:
        return self.endpoints.get((tenant, endpoint_id))

    def list_all(self, tenant: str) -> Sequence[Endpoint]:
        endpoints = [endpoint for endpoint in self.endpoints.values() if endpoint.tenant == tenant]
        return sorted(endpoints, key=lambda endpoint: endpoint.id)

    def save(self, endpoint: Endpoint) -> Endpoint:
        stored = self.endpoints.get((endpoint.tenant, endpoint.id))
        if stored is None or stored.revision != endpoint.revision:
            raise ConflictError("save endpoint")
        saved = replace(endpoint, revision=endpoint.revision + 1)
        self.endpoints[endpoint.tenant, endpoint.id] = saved
        return saved

    def delete(self, tenant: str, endpoint_id: str) -> bool:
        return self.endpoints.pop((tenant, endpoint_id), None) is not None


class FakeSigningSecretStore:
    """The SigningSecretStore port."""

    def __init__(self) -> None:
        self.secrets: dict[str, tuple[SigningSecret, ...]] = {}

    def get_or_create(self, tenant: str, *, now: datetime) -> tuple[SigningSecret, ...]:
        return self.secrets.setdefault(tenant, (generate_signing_secret(now),))

    def replace(self, tenant: str, *, old: Sequence[SigningSecret], new: Sequence[SigningSecret]) -> None:
        if self.secrets.get(tenant) != tuple(old):
            raise ConflictError("write signing secret")
        self.secrets[tenant] = tuple(new)


class FakeReceiverLimitStore:
    """The ReceiverLimitStore port."""

    def __init__(self, settings: DeliverySettings) -> None:
        self._settings = settings
        self._slots: dict[tuple[str, str], dict[str, datetime]] = {}
        self._health: dict[tuple[str, str], ReceiverHealth] = {}
        self._last_failures: dict[tuple[str, str], datetime] = {}

    def acquire_slot(self, tenant: str, receiver_id: str, token: str, *, now: datetime) -> None:
        slots = self._slots.setdefault((tenant, receiver_id), {})
        health = self._health.setdefault((tenant, receiver_id), ReceiverHealth())
        unanswered = min(health.consecutive_unanswered, 2)
        if len(slots) >= calculate_allowed_concurrency(unanswered, self._settings.max_concurrency):
            expired = [slot_token for slot_token, lease_until in slots.items() if lease_until <= now]
            if not expired:
                raise ConcurrencyLimitError(health.consecutive_unanswered)
            del slots[expired[0]]
        slots[token] = now + timedelta(seconds=self._settings.lease_seconds)

    def release_slot(self, tenant: str, receiver_id: str, token: str) -> None:
        self._slots[tenant, receiver_id].pop(token, None)

    def record_response(
        self, tenant: str, receiver_id: str, token: str, *, response: ReceiverResponse, now: datetime
    ) -> ReceiverHealth:
        health = self._health[tenant, receiver_id]
        is_held = self._slots[tenant, receiver_id].pop(token, None) is not None
        if response.result is AttemptResult.DELIVERED:
            health = ReceiverHealth(last_success_at=now)
        elif is_held:
            gap = now - self._last_failures.get((tenant, receiver_id), now)
            if gap > timedelta(seconds=self._settings.max_failure_gap_seconds):
                health = replace(health, failing_since=None)
            self._last_failures[tenant, receiver_id] = now
            health = replace(
                health,
                consecutive_unanswered=health.consecutive_unanswered + 1 if response.is_missing else 0,
                consecutive_failures=health.consecutive_failures + 1,
                failing_since=health.failing_since or now,
            )
        self._health[tenant, receiver_id] = health
        return replace(health, in_flight=len(self._slots[tenant, receiver_id]))

    def get(self, tenant: str, receiver_id: str) -> ReceiverHealth | None:
        health = self._health.get((tenant, receiver_id))
        return replace(health, in_flight=len(self._slots[tenant, receiver_id])) if health else None

    def reset_failures(self, tenant: str, receiver_id: str) -> None:
        health = self._health.get((tenant, receiver_id))
        if health is not None:
            self._health[tenant, receiver_id] = ReceiverHealth(last_success_at=health.last_success_at)


@dataclass
class FakeTopic:
    """The Topic port."""

    messages: list[tuple[str, Mapping[str, str]]] = field(default_factory=list)

    def publish(self, message: str, *, attributes: Mapping[str, str]) -> None:
        self.messages.append((message, attributes))


class FakeDeliveryQueue:
    """The DeliveryQueue port. A message can be received after its delay; `is_broken` makes sends fail."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self._numbers = itertools.count()
        self._messages: list[tuple[datetime, int, str]] = []
        self.is_broken = False

    def send(self, commands: Sequence[DeliverCommand], *, delay_seconds: float = 0) -> None:
        if self.is_broken:
            raise RetryableError("send deliveries")
        assert delay_seconds <= _MAX_DELAY_SECONDS
        visible_at = self._clock.now() + timedelta(seconds=delay_seconds)
        for command in commands:
            heapq.heappush(self._messages, (visible_at, next(self._numbers), command.to_json()))

    @property
    def next_message_at(self) -> datetime | None:
        return self._messages[0][0] if self._messages else None

    def receive(self) -> DeliverCommand | None:
        """Return the next message whose delay has passed."""
        if self._messages and self._messages[0][0] <= self._clock.now():
            return DeliverCommand.from_json(heapq.heappop(self._messages)[2])
        return None

    def __len__(self) -> int:
        return len(self._messages)


@dataclass(frozen=True)
class ReceivedRequest:
    """One request as the receiver saw it."""

    received_at: datetime
    url: str
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def event(self) -> str:
        return self.headers["x-proxy-event"]


def respond(
    status: int, headers: Mapping[str, str] | None = None, text: str = "", duration_seconds: float = 0.05
) -> ReceiverResponse:
    """Return an HTTP response of the receiver."""
    return classify_response(status, headers or {}, text.encode(), duration_seconds=duration_seconds)


def time_out() -> ReceiverResponse:
    """Return the error of a receiver that sends no response within the timeout."""
    return ReceiverResponse(
        result=AttemptResult.UNAVAILABLE, error_code=ErrorCode.TIMEOUT, duration_seconds=15.0
    )


def refuse_connection() -> ReceiverResponse:
    """Return the error of a host on which no receiver listens."""
    return ReceiverResponse(
        result=AttemptResult.UNAVAILABLE, error_code=ErrorCode.UNREACHABLE, duration_seconds=0.01
    )


@dataclass
class FakeReceiver:
    """The Sender port and the application behind it. `behavior` decides about each request."""

    clock: FakeClock
    behavior: Callable[[ReceivedRequest], ReceiverResponse] = lambda _request: respond(200)
    received: list[ReceivedRequest] = field(default_factory=list)
    accepted: list[ReceivedRequest] = field(default_factory=list)

    def post(self, url: str, headers: Mapping[str, str], body: bytes) -> ReceiverResponse:
        request = ReceivedRequest(self.clock.now(), url, headers, body)
        self.received.append(request)
        response = self.behavior(request)
        if response.result is AttemptResult.DELIVERED:
            self.accepted.append(request)
        return response


def _key(delivery: Delivery) -> tuple[str, str, int, str]:
    return delivery.tenant, delivery.job_id, delivery.sequence, delivery.target


def _slice_page[T](
    rows: list[T],
    after: DeliveryPosition | None,
    limit: int,
    *,
    get_position: Callable[[T], DeliveryPosition],
    oldest_first: bool,
) -> tuple[tuple[T, ...], DeliveryPosition | None]:
    start = 0
    if after is not None:
        positions = [get_position(row) for row in rows]
        outside = 0 if oldest_first else len(rows)
        start = positions.index(after) + 1 if after in positions else outside
    end = start + limit
    return tuple(rows[start:end]), get_position(rows[end - 1]) if end < len(rows) else None


def _get_delivery_position(delivery: Delivery) -> DeliveryPosition:
    sort_key = delivery_sk(delivery.target, delivery.sequence)
    return DeliveryPosition(delivery.job_id, sort_key, format_timestamp(delivery.created_at))


def _get_attempt_position(attempt: Attempt) -> DeliveryPosition:
    sort_key = f"{attempt_prefix(attempt.target, attempt.sequence)}{attempt.number:04}"
    return DeliveryPosition(attempt.job_id, sort_key, format_timestamp(attempt.sent_at))
