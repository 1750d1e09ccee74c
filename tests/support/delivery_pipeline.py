"""The webhook services in one process; time passes only when a test lets it."""

from __future__ import annotations

import heapq
import itertools
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from replicate_proxy.aws.endpoint_store import DynamoEndpointStore, DynamoSigningSecretStore
from replicate_proxy.aws.receiver_limit_store import DynamoReceiverLimitStore
from replicate_proxy.clock import format_timestamp
from replicate_proxy.net.addresses import AddressPolicy, parse_url
from replicate_proxy.outputs.private_urls import refuse_private
from replicate_proxy.pauses.pause import Pause, PauseMode, PauseSwitch
from replicate_proxy.webhooks.deliverer import Deliverer, PreparedDelivery
from replicate_proxy.webhooks.delivery_sweep import DeliverySweep
from replicate_proxy.webhooks.delivery_updater import DeliveryUpdater
from replicate_proxy.webhooks.endpoint_health import EndpointHealth
from replicate_proxy.webhooks.endpoint_service import EndpointService
from replicate_proxy.webhooks.model import JobChange
from replicate_proxy.webhooks.notifier import Notifier
from replicate_proxy.webhooks.redelivery import RedeliveryService
from replicate_proxy.webhooks.request_builder import RequestBuilder
from replicate_proxy.webhooks.settings import DeliverySettings
from replicate_proxy.webhooks.status_events import StatusPublisher
from tests.support.aws import DELIVERIES_TABLE, create_in_memory_aws
from tests.support.clock import NOW, FakeClock
from tests.support.delivery_store import InMemoryDeliveryStore
from tests.support.fakes import FakeDocumentStore, FakeEventBus
from tests.support.pauses import FakePauseStore
from tests.support.webhook_builders import as_succeeded, make_job
from tests.support.webhook_fakes import FakeDeliveryQueue, FakeReceiver, FakeTopic

if TYPE_CHECKING:
    from collections.abc import Callable

    from replicate_proxy.jobs.model import Job
    from replicate_proxy.outputs.private_urls import SignUrls
    from replicate_proxy.webhooks.ports import Sender
    from replicate_proxy.webhooks.sender import ReceiverResponse

_SWEEP_INTERVAL = timedelta(minutes=1)
_SWEEP_BUDGET = timedelta(seconds=50)


class DeliveryPipeline:
    """The real services and stores, with at most `workers` deliver functions at a time.

    Requests take as long as the receiver's response says; other requests run meanwhile.
    """

    def __init__(
        self,
        settings: DeliverySettings | None = None,
        *,
        workers: int = 50,
        sender: Sender | None = None,
        sign_urls: SignUrls = refuse_private,
        start: datetime = NOW,
    ) -> None:
        self.settings = settings or DeliverySettings(jitter=0.0)
        self.clock = FakeClock(start)
        dynamodb: Any = create_in_memory_aws().client("dynamodb")
        self.deliveries = InMemoryDeliveryStore(dynamodb)
        self.endpoints = DynamoEndpointStore(dynamodb, DELIVERIES_TABLE)
        self.secrets = DynamoSigningSecretStore(dynamodb, DELIVERIES_TABLE)
        self.documents = FakeDocumentStore()
        self.receiver_limits = DynamoReceiverLimitStore(dynamodb, DELIVERIES_TABLE, self.settings)
        self.queue = FakeDeliveryQueue(self.clock)
        self.bus = FakeEventBus()
        self.topic = FakeTopic()
        self.receiver = FakeReceiver(self.clock)
        self.pauses = FakePauseStore()
        self.sender: Sender = sender or self.receiver
        self._build_services(sign_urls)
        self._workers = workers
        self._request_numbers = itertools.count()
        self._requests: list[tuple[datetime, int, PreparedDelivery, ReceiverResponse]] = []
        self._next_sweep_at = start + _SWEEP_INTERVAL

    def _build_services(self, sign_urls: SignUrls) -> None:
        self.notifier = Notifier(
            deliveries=self.deliveries,
            endpoints=self.endpoints,
            documents=self.documents,
            queue=self.queue,
            publisher=StatusPublisher(self.bus, self.topic),
            clock=self.clock,
            settings=self.settings,
        )
        self.deliverer = self._build_deliverer(sign_urls)
        self.endpoint_service = EndpointService(
            endpoints=self.endpoints,
            secrets=self.secrets,
            receiver_limits=self.receiver_limits,
            check_url=lambda url: parse_url(url, AddressPolicy()),
            clock=self.clock,
        )
        self.redelivery = RedeliveryService(
            deliveries=self.deliveries,
            endpoints=self.endpoints,
            queue=self.queue,
            clock=self.clock,
            settings=self.settings,
        )
        self.delivery_sweep = DeliverySweep(
            deliveries=self.deliveries,
            queue=self.queue,
            redelivery=self.redelivery,
            clock=self.clock,
            settings=self.settings,
            find_pause=self._build_find_pause(),
        )

    def _build_deliverer(self, sign_urls: SignUrls) -> Deliverer:
        return Deliverer(
            updater=DeliveryUpdater(deliveries=self.deliveries, queue=self.queue, settings=self.settings),
            request_builder=RequestBuilder(
                deliveries=self.deliveries,
                endpoints=self.endpoints,
                secrets=self.secrets,
                documents=self.documents,
                sign_urls=sign_urls,
            ),
            receiver_limits=self.receiver_limits,
            endpoint_health=EndpointHealth(
                receiver_limits=self.receiver_limits,
                endpoints=self.endpoints,
                bus=self.bus,
                settings=self.settings,
            ),
            sender=self.sender,
            clock=self.clock,
            settings=self.settings,
            find_pause=self._build_find_pause(),
            random_fraction=lambda: 0.5,
        )

    def _build_find_pause(self) -> Callable[[str], Pause | None]:
        return PauseSwitch(self.pauses, monotonic=self.clock.monotonic).find

    def pause(self, tenant: str) -> None:
        """Pause the deliveries of a tenant, or of all."""
        self.pauses.put(tenant, Pause(PauseMode.HOLD, format_timestamp(self.clock.now())))

    def apply_changes(self, *changes: tuple[Job | None, Job]) -> int | None:
        """Notify about changes, each from an old record to a new one; return the index of a failed one."""
        return self.notifier.notify([JobChange(old, new) for old, new in changes])

    def complete_job(self, **fields: Any) -> Job:
        """Let a job succeed. Its webhook receives `completed` only, unless the fields say otherwise."""
        job = make_job(**{"webhook_events": ("completed",), **fields})
        assert self.apply_changes((job, as_succeeded(job))) is None
        return job

    def run_for(self, seconds: float = 2) -> None:
        """Let time pass: messages are received, requests end, the sweep runs every minute."""
        end = self.clock.now() + timedelta(seconds=seconds)
        while True:
            self._start_requests()
            next_at = self._next_event_at()
            if next_at is None or next_at > end:
                break
            self.clock.set(max(next_at, self.clock.now()))
            self._finish_requests()
            if self._next_sweep_at <= self.clock.now():
                self._next_sweep_at += _SWEEP_INTERVAL
                self.delivery_sweep.enqueue_due(self.clock.now(), self.clock.now() + _SWEEP_BUDGET)
        self.clock.set(end)

    def _next_event_at(self) -> datetime | None:
        has_free_worker = len(self._requests) < self._workers
        times = [
            self._requests[0][0] if self._requests else None,
            self.queue.next_message_at if has_free_worker else None,
            self._next_sweep_at if self.deliveries.has_due() else None,
        ]
        return min((time for time in times if time is not None), default=None)

    def _start_requests(self) -> None:
        while len(self._requests) < self._workers and (command := self.queue.receive()) is not None:
            prepared = self.deliverer.prepare(command)
            if prepared is None:
                continue
            request = prepared.request
            response = self.sender.post(request.url, request.headers, request.body)
            end = self.clock.now() + timedelta(seconds=response.duration_seconds)
            heapq.heappush(self._requests, (end, next(self._request_numbers), prepared, response))

    def _finish_requests(self) -> None:
        while self._requests and self._requests[0][0] <= self.clock.now():
            _, _, prepared, response = heapq.heappop(self._requests)
            next_command = self.deliverer.finish(prepared, response)
            if next_command is not None:
                self.queue.send([next_command])
