"""In-memory adapters of the delivery ports, a receiver, and a world in which time passes when told to."""

from __future__ import annotations

import heapq
import itertools
import json
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from replicate_proxy.errors import ConflictError, NotFoundError, RetryableError
from replicate_proxy.jobs.model import Document, Job, JobStatus, Submission, SubmissionKind
from replicate_proxy.net.addresses import AddressPolicy, parse_url
from replicate_proxy.webhooks.commands import DeliverCommand
from replicate_proxy.webhooks.deliverer import Deliverer, Ready
from replicate_proxy.webhooks.delivery_repository import Progress
from replicate_proxy.webhooks.due_deliveries import DueDeliveries
from replicate_proxy.webhooks.endpoint_service import EndpointAdmin
from replicate_proxy.webhooks.endpoints import (
    Endpoint,
    generate_signing_secret,
)
from replicate_proxy.webhooks.model import Attempt, Delivery, EventKind, StoredEvent, Verdict
from replicate_proxy.webhooks.notifier import Announcements, JobChange, Notifier
from replicate_proxy.webhooks.ports import AttemptPage, DeliveryPage, DueDelivery, Sender
from replicate_proxy.webhooks.receiver_limits import Lane, LaneFullError, Receivers, slots_after
from replicate_proxy.webhooks.redelivery import Redelivery
from replicate_proxy.webhooks.request_builder import Letters
from replicate_proxy.webhooks.retry_policy import DeliverySettings
from replicate_proxy.webhooks.sender import Answer, Failure, judge
from tests.support.clock import NOW, FakeClock

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from replicate_proxy.contracts.events import Event
    from replicate_proxy.webhooks.endpoints import SigningSecret

TENANT = "acme"
HOOK = "https://app.example/hook"


class FakeOutbox:
    """The Outbox port in a dictionary each."""

    def __init__(self, due_shards: int = 8) -> None:
        self.events: dict[tuple[str, str, int], StoredEvent] = {}
        self.deliveries: dict[tuple[str, str, int, str], Delivery] = {}
        self.kept_attempts: list[Attempt] = []
        self._due_shards = due_shards

    def record_event(self, event: StoredEvent) -> None:
        self.events.setdefault((event.tenant, event.job_id, event.sequence), event)

    def event(self, tenant: str, job_id: str, sequence: int) -> StoredEvent | None:
        return self.events.get((tenant, job_id, sequence))

    def record(self, delivery: Delivery) -> bool:
        is_new = _key(delivery) not in self.deliveries
        self.deliveries.setdefault(_key(delivery), delivery)
        return is_new

    def get(self, tenant: str, job_id: str, sequence: int, target: str) -> Delivery | None:
        return self.deliveries.get((tenant, job_id, sequence, target))

    def line(self, tenant: str, job_id: str, target: str, *, up_to: int, limit: int) -> Sequence[Delivery]:
        found = [each for each in self._to(tenant, job_id, target) if each.sequence <= up_to]
        return sorted(found, key=lambda each: -each.sequence)[:limit]

    def following(self, delivery: Delivery) -> Delivery | None:
        later = [
            each
            for each in self._to(delivery.tenant, delivery.job_id, delivery.target)
            if each.sequence > delivery.sequence
        ]
        return min(later, key=lambda each: each.sequence, default=None)

    def save(self, delivery: Delivery) -> Delivery:
        stored = self.deliveries.get(_key(delivery))
        if stored is None or stored.rev != delivery.rev:
            raise ConflictError("save delivery")
        saved = replace(delivery, rev=delivery.rev + 1)
        self.deliveries[_key(delivery)] = saved
        return saved

    def record_attempt(self, attempt: Attempt) -> None:
        self.kept_attempts.append(attempt)

    def of_job(self, tenant: str, job_id: str) -> Sequence[Delivery]:
        found = [each for each in self.deliveries.values() if (each.tenant, each.job_id) == (tenant, job_id)]
        return sorted(found, key=lambda each: (each.sequence, each.target))

    def attempts_of_job(self, tenant: str, job_id: str) -> Sequence[Attempt]:
        found = [each for each in self.kept_attempts if (each.tenant, each.job_id) == (tenant, job_id)]
        return sorted(found, key=lambda each: each.at)

    def attempts(self, delivery: Delivery) -> Sequence[Attempt]:
        found = [
            each
            for each in self.attempts_of_job(delivery.tenant, delivery.job_id)
            if (each.sequence, each.target) == (delivery.sequence, delivery.target)
        ]
        return sorted(found, key=lambda each: each.number)

    def deliveries_to(
        self,
        tenant: str,
        target: str,
        *,
        since: datetime | None,
        cursor: str | None,
        limit: int,
        oldest_first: bool,
    ) -> DeliveryPage:
        found = [
            each
            for each in self.deliveries.values()
            if (each.tenant, each.target) == (tenant, target) and (since is None or each.created_at >= since)
        ]
        found.sort(key=lambda each: (each.created_at, each.sequence), reverse=not oldest_first)
        start = int(cursor or 0)
        more = str(start + limit) if start + limit < len(found) else None
        return DeliveryPage(tuple(found[start : start + limit]), more)

    def attempts_to(self, tenant: str, target: str, *, cursor: str | None, limit: int) -> AttemptPage:
        found = [each for each in self.kept_attempts if (each.tenant, each.target) == (tenant, target)]
        found.sort(key=lambda each: each.at, reverse=True)
        start = int(cursor or 0)
        more = str(start + limit) if start + limit < len(found) else None
        return AttemptPage(tuple(found[start : start + limit]), more)

    def due(self, shard: int, *, before: datetime, limit: int) -> Sequence[DueDelivery]:
        if shard:
            return []
        found = [
            each for each in self.deliveries.values() if each.due_at is not None and each.due_at <= before
        ]
        found.sort(key=lambda each: each.due_at or NOW)
        return [DueDelivery(DeliverCommand.of(each), each.due_at or NOW) for each in found[:limit]]

    def hand_over(self, due: DueDelivery, *, until: datetime) -> None:
        command = due.command
        key = (command.tenant, command.job_id, command.sequence, command.target)
        if self.deliveries[key].due_at == due.due_at:
            self.deliveries[key] = replace(self.deliveries[key], due_at=until)

    def _to(self, tenant: str, job_id: str, target: str) -> list[Delivery]:
        return [each for each in self.of_job(tenant, job_id) if each.target == target]


class FakeEndpoints:
    """The EndpointStore port in a dictionary."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, str], Endpoint] = {}

    def create(self, endpoint: Endpoint) -> None:
        if (endpoint.tenant, endpoint.id) in self.kept:
            raise ConflictError("create endpoint")
        self.kept[endpoint.tenant, endpoint.id] = endpoint

    def get(self, tenant: str, endpoint_id: str) -> Endpoint | None:
        return self.kept.get((tenant, endpoint_id))

    def all(self, tenant: str) -> Sequence[Endpoint]:
        return sorted(
            (each for each in self.kept.values() if each.tenant == tenant), key=lambda each: each.id
        )

    def save(self, endpoint: Endpoint) -> Endpoint:
        stored = self.kept.get((endpoint.tenant, endpoint.id))
        if stored is None or stored.rev != endpoint.rev:
            raise ConflictError("save endpoint")
        saved = replace(endpoint, rev=endpoint.rev + 1)
        self.kept[endpoint.tenant, endpoint.id] = saved
        return saved

    def delete(self, tenant: str, endpoint_id: str) -> bool:
        return self.kept.pop((tenant, endpoint_id), None) is not None


class FakeSecrets:
    """The TenantSecrets port in a dictionary."""

    def __init__(self) -> None:
        self.kept: dict[str, tuple[SigningSecret, ...]] = {}

    def of(self, tenant: str, *, now: datetime) -> tuple[SigningSecret, ...]:
        return self.kept.setdefault(tenant, (generate_signing_secret(now),))

    def replace(self, tenant: str, *, old: Sequence[SigningSecret], new: Sequence[SigningSecret]) -> None:
        if self.kept.get(tenant) != tuple(old):
            raise ConflictError("write signing secret")
        self.kept[tenant] = tuple(new)


class FakeLanes:
    """The Lanes port in dictionaries."""

    def __init__(self, settings: DeliverySettings) -> None:
        self._settings = settings
        self._slots: dict[tuple[str, str], dict[str, datetime]] = {}
        self._lanes: dict[tuple[str, str], Lane] = {}

    def enter(self, tenant: str, lane: str, token: str, *, now: datetime) -> None:
        slots = self._slots.setdefault((tenant, lane), {})
        state = self._lanes.setdefault((tenant, lane), Lane())
        if len(slots) >= slots_after(min(state.hangs, 2), self._settings.lane_slots):
            stale = [name for name, end in slots.items() if end <= now]
            if not stale:
                raise LaneFullError(state.hangs)
            del slots[stale[0]]
        slots[token] = now + timedelta(seconds=self._settings.lease)

    def leave(self, tenant: str, lane: str, token: str) -> None:
        self._slots[tenant, lane].pop(token, None)

    def settle(self, tenant: str, lane: str, token: str, *, answer: Answer, now: datetime) -> Lane:
        self.leave(tenant, lane, token)
        old = self._lanes[tenant, lane]
        if answer.verdict is Verdict.TAKEN:
            new = Lane(last_success_at=now)
        else:
            new = replace(
                old,
                hangs=old.hangs + 1 if answer.hung else 0,
                failures_in_a_row=old.failures_in_a_row + 1,
                failing_since=old.failing_since or now,
            )
        self._lanes[tenant, lane] = new
        return replace(new, in_flight=len(self._slots[tenant, lane]))

    def get(self, tenant: str, lane: str) -> Lane | None:
        state = self._lanes.get((tenant, lane))
        return replace(state, in_flight=len(self._slots[tenant, lane])) if state else None

    def forgive(self, tenant: str, lane: str) -> None:
        if (tenant, lane) in self._lanes:
            old = self._lanes[tenant, lane]
            self._lanes[tenant, lane] = Lane(last_success_at=old.last_success_at)


class FakeDocuments:
    """The DocumentStore port; values beyond `inline` characters lie in `objects`."""

    def __init__(self, inline: int = 4096) -> None:
        self.objects: dict[str, str] = {}
        self._inline = inline

    def save(self, tenant: str, job_id: str, name: str, value: Any) -> Document:
        text = json.dumps(value)
        if len(text) <= self._inline:
            return Document(text=text)
        self.objects[f"records/{tenant}/{job_id}/{name}.json"] = text
        return Document(object_key=f"records/{tenant}/{job_id}/{name}.json")

    def load(self, document: Document | None) -> Any:
        if document is None:
            return None
        if document.object_key is None:
            return json.loads(document.text or "null")
        if document.object_key not in self.objects:
            raise NotFoundError("the stored document is gone")
        return json.loads(self.objects[document.object_key])


@dataclass
class FakeBus:
    """The EventBus port; `broken` makes it refuse."""

    events: list[Event] = field(default_factory=list)
    broken: bool = False

    def publish(self, events: Sequence[Event]) -> None:
        if self.broken:
            raise RetryableError("publish events")
        self.events += events


@dataclass
class FakeTopic:
    """The Topic port."""

    messages: list[tuple[str, Mapping[str, str]]] = field(default_factory=list)

    def publish(self, message: str, *, attributes: Mapping[str, str]) -> None:
        self.messages.append((message, attributes))


class FakeQueue:
    """The DeliveryQueue port: messages in order of the time at which they may be received."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self._numbers = itertools.count()
        self._messages: list[tuple[datetime, int, DeliverCommand]] = []
        self.broken = False
        self.sent = 0

    def send(self, commands: Sequence[DeliverCommand], *, delay: float = 0) -> None:
        if self.broken:
            raise RetryableError("send deliveries")
        assert delay <= 900
        self.sent += len(commands)
        at = self._clock.now() + timedelta(seconds=delay)
        for command in commands:
            # As on the wire: text only.
            copied = DeliverCommand.from_json(command.to_json())
            heapq.heappush(self._messages, (at, next(self._numbers), copied))

    def next_at(self) -> datetime | None:
        return self._messages[0][0] if self._messages else None

    def receive(self) -> DeliverCommand | None:
        """The next message whose time has come."""
        if self._messages and self._messages[0][0] <= self._clock.now():
            return heapq.heappop(self._messages)[2]
        return None

    def __len__(self) -> int:
        return len(self._messages)


@dataclass(frozen=True)
class Received:
    """One request as the receiver saw it."""

    at: datetime
    url: str
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def event(self) -> str:
        return self.headers["x-proxy-event"]


def answered(
    status: int, headers: Mapping[str, str] | None = None, text: str = "", duration: float = 0.05
) -> Answer:
    return judge(status, headers or {}, text.encode(), duration=duration)


def hanging(seconds: float = 15.0) -> Answer:
    return Answer(verdict=Verdict.DOWN, failure=Failure.TIMEOUT, duration=seconds)


def refused_connection() -> Answer:
    return Answer(verdict=Verdict.DOWN, failure=Failure.UNREACHABLE, duration=0.01)


@dataclass
class FakeReceiver:
    """The Sender port and the application behind it: `behave` decides on each request."""

    clock: FakeClock
    behave: Callable[[Received], Answer] = lambda _request: answered(200)
    received: list[Received] = field(default_factory=list)
    taken: list[Received] = field(default_factory=list)

    def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        request = Received(self.clock.now(), url, headers, body)
        self.received.append(request)
        answer = self.behave(request)
        if answer.verdict is Verdict.TAKEN:
            self.taken.append(request)
        return answer


class World:
    """Everything from the stream to the receiver, with `workers` deliver functions at most at a time."""

    def __init__(
        self,
        settings: DeliverySettings | None = None,
        *,
        workers: int = 50,
        sender: Sender | None = None,
        start: datetime = NOW,
    ) -> None:
        self.settings = settings or DeliverySettings(jitter=0.0)
        self.clock = FakeClock(start)
        self.outbox = FakeOutbox()
        self.endpoints = FakeEndpoints()
        self.secrets = FakeSecrets()
        self.documents = FakeDocuments()
        self.lanes = FakeLanes(self.settings)
        self.queue = FakeQueue(self.clock)
        self.bus = FakeBus()
        self.topic = FakeTopic()
        self.receiver = FakeReceiver(self.clock)
        self.sender: Sender = sender or self.receiver
        self.notifier = Notifier(
            outbox=self.outbox,
            endpoints=self.endpoints,
            documents=self.documents,
            queue=self.queue,
            announcements=Announcements(self.bus, self.topic),
            clock=self.clock,
            settings=self.settings,
        )
        self.deliverer = Deliverer(
            progress=Progress(outbox=self.outbox, queue=self.queue, settings=self.settings),
            letters=Letters(
                outbox=self.outbox,
                endpoints=self.endpoints,
                secrets=self.secrets,
                documents=self.documents,
            ),
            receivers=Receivers(
                lanes=self.lanes, endpoints=self.endpoints, bus=self.bus, settings=self.settings
            ),
            sender=self.sender,
            clock=self.clock,
            settings=self.settings,
            die=lambda: 0.5,
        )
        self.due = DueDeliveries(
            outbox=self.outbox, queue=self.queue, clock=self.clock, settings=self.settings
        )
        self.admin = EndpointAdmin(
            endpoints=self.endpoints,
            secrets=self.secrets,
            lanes=self.lanes,
            check_url=lambda url: parse_url(url, AddressPolicy()),
            clock=self.clock,
        )
        self.redelivery = Redelivery(
            outbox=self.outbox,
            endpoints=self.endpoints,
            queue=self.queue,
            clock=self.clock,
            settings=self.settings,
        )
        self._workers = workers
        self._numbers = itertools.count()
        self._running: list[tuple[datetime, int, Ready, Answer]] = []
        self._next_sweep = start + timedelta(minutes=1)

    def happen(self, *changes: tuple[Job | None, Job]) -> int | None:
        return self.notifier.notify([JobChange(old, new) for old, new in changes])

    def run(self, seconds: float = 2) -> None:
        """Lets that much time pass: messages are received, requests end, the sweep runs every minute."""
        end = self.clock.now() + timedelta(seconds=seconds)
        while True:
            self._receive()
            at = self._next_at()
            if at is None or at > end:
                break
            self.clock.set(max(at, self.clock.now()))
            self._finish()
            if self._next_sweep <= self.clock.now():
                self._next_sweep += timedelta(minutes=1)
                self.due.run(self.clock.now(), self.clock.now() + timedelta(seconds=50))
        self.clock.set(end)

    def _next_at(self) -> datetime | None:
        free = len(self._running) < self._workers
        times = [
            self._running[0][0] if self._running else None,
            self.queue.next_at() if free else None,
            self._next_sweep if self._has_pending() else None,
        ]
        return min((time for time in times if time is not None), default=None)

    def _has_pending(self) -> bool:
        return any(each.due_at is not None for each in self.outbox.deliveries.values())

    def _receive(self) -> None:
        while len(self._running) < self._workers and (command := self.queue.receive()) is not None:
            ready = self.deliverer.begin(command)
            if ready is not None:
                answer = self.sender.post(ready.url, ready.headers, ready.body)
                end = self.clock.now() + timedelta(seconds=answer.duration)
                heapq.heappush(self._running, (end, next(self._numbers), ready, answer))

    def _finish(self) -> None:
        while self._running and self._running[0][0] <= self.clock.now():
            _, _, ready, answer = heapq.heappop(self._running)
            following = self.deliverer.finish(ready, answer)
            if following is not None:
                self.queue.send([following])


def make_job(**changes: Any) -> Job:
    """A queued job of `acme` with a webhook that takes the default events."""
    values: dict[str, Any] = {
        "tenant": TENANT,
        "id": "01kgahp2x3m4n5p6q7r8s9t0va",
        "status": JobStatus.QUEUED,
        "created_at": NOW,
        "submission": Submission(SubmissionKind.MODEL, owner="black-forest-labs", name="flux-schnell"),
        "input": Document(text='{"prompt":"a lighthouse"}'),
        "correlation_id": "req-1",
        "public_base_url": "https://proxy.example/prod",
        "revision": 1,
        "webhook": HOOK,
    }
    return Job(**{**values, **changes})


def make_endpoint(**changes: Any) -> Endpoint:
    values: dict[str, Any] = {
        "tenant": TENANT,
        "id": "ep_01kgahp2x3m4n5p6q7r8s9t0vb",
        "url": "https://app.example/all",
        "secrets": (generate_signing_secret(NOW),),
        "created_at": NOW,
        "updated_at": NOW,
    }
    made = Endpoint(**{**values, **changes})
    return replace(made, events=tuple(EventKind(kind) for kind in made.events))


def processing(job: Job, **changes: Any) -> Job:
    return replace(job, status=JobStatus.PROCESSING, started_at=NOW, revision=job.revision + 1, **changes)


def succeeded(job: Job, **changes: Any) -> Job:
    """The job with a final output, as harvest leaves it."""
    values: dict[str, Any] = {
        "status": JobStatus.SUCCEEDED,
        "revision": job.revision + 1,
        "started_at": job.started_at or NOW,
        "completed_at": NOW + timedelta(seconds=3),
        "output": Document(text='["https://cdn.example/outputs/1.webp"]'),
        "metrics": {"predict_time": 1.5},
    }
    return replace(job, **{**values, **changes})


def _key(delivery: Delivery) -> tuple[str, str, int, str]:
    return delivery.tenant, delivery.job_id, delivery.sequence, delivery.target
