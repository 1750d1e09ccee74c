"""What a scenario is, and what its callers, owners of endpoints and operators do."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from replicate_proxy.auth.principal import Principal
from replicate_proxy.contracts.commands import DispatchCommand, DispatchKind
from replicate_proxy.errors import ProxyError
from replicate_proxy.jobs.model import Submission, SubmissionKind
from replicate_proxy.services.ingest import JobRequest
from tools.simulation.functions.components import Features
from tools.simulation.functions.deliveries import build_endpoints
from tools.simulation.functions.replicate_access import build_breaker
from tools.simulation.functions.sweep import build_deleter
from tools.simulation.resources import Queue
from tools.simulation.scheduler import ProcessEndedError
from tools.simulation.world import ServiceUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable

    from replicate_proxy.jobs.model import Job
    from replicate_proxy.model_entries.entry import ModelEntry
    from replicate_proxy.webhooks.endpoints import Endpoint
    from tools.simulation.batch_invariants import BatchInvariants
    from tools.simulation.concurrency_invariants import ConcurrencyInvariants
    from tools.simulation.deletions import DeletionInvariants
    from tools.simulation.invariants import Invariants
    from tools.simulation.world import World

_VERSION = "5c7d5dc6dd8bf75c1acaa8565735e7986bc5b66206b55cca93cb72c9bf15ccaa"
_MAX_ATTEMPTS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """What is fixed about the runs of a scenario, and what may go wrong in them besides crashes.

    `start` spawns its actors, in a stack with these `features`. `faults` are among "lost" and "late" (a
    webhook of Replicate; "late" also: a create lands after its caller gave it up), "outage" (of Replicate,
    from a read on), "answer_lost" and "busy" (a receiver). `pauses` are preemptions that last so many
    seconds; without them only what is due at the same time can come in between. `first_creates` are what
    happens to the first create of each job, `receiver_answers` are the answers to the first requests to
    receivers. With `duplicates_messages`, SQS delivers every message twice, and with
    `duplicates_invocations`, Lambda carries out every asynchronous invocation twice at once. `slice_lines`
    are the lines of a slice of a large batch. Streams, indexes and the event bus take `propagation_seconds`.
    A run must come to rest within `rest_seconds`. `choices` bounds the choices of each run of an exploration:
    fewer where a run is long.
    """

    description: str
    start: Callable[[Cast], None]
    faults: frozenset[str] = frozenset()
    pauses: tuple[float, ...] = ()
    run_seconds: tuple[float, float] = (0.0, 0.0)
    webhooks_enabled: bool = True
    streams: bool = False
    echoes_webhook: bool = True
    first_creates: tuple[str, ...] = ()
    receiver_answers: tuple[str, ...] = ()
    duplicates_messages: bool = False
    duplicates_invocations: bool = False
    features: Features = field(default_factory=Features)
    slice_lines: int = 1
    propagation_seconds: float = 0.0
    rest_seconds: float = 6 * 3600.0
    choices: int = 2

    def list_faults(self, *options: str) -> list[str]:
        """Return those of the options that may occur."""
        return [option for option in options if option in self.faults]


class Cast:
    """Spawns the actors of a scenario, and does what callers and owners of endpoints do."""

    def __init__(
        self,
        world: World,
        invariants: Invariants,
        *,
        batches: BatchInvariants | None = None,
        limits: ConcurrencyInvariants | None = None,
        deletions: DeletionInvariants | None = None,
    ) -> None:
        self.world = world
        self._invariants = invariants
        self._batches = batches
        self._limits = limits
        self._deletions = deletions
        self._jobs_by_key: dict[str, str] = {}

    def spawn(self, name: str, function: Callable[[], object], *, delay_seconds: float = 0) -> None:
        self.world.scheduler.spawn(name, lambda: _drop(function()), delay_seconds=delay_seconds)

    @property
    def batches(self) -> BatchInvariants:
        """The watcher of large batches, which a scenario with such has."""
        if self._batches is None:
            raise AssertionError("the scenario has no batches")
        return self._batches

    def limit_tenant(self, tenant: str, max_concurrency: int) -> None:
        """Limit how many jobs of a tenant run at once, before anything else happens."""
        if self._limits is None:
            raise AssertionError("the scenario has no limits")
        self.world.components.tenant_limits.put(tenant, max_concurrency)
        self._limits.expect_tenant_limit(max_concurrency)
        self._limits.confirm_tenant_limit()

    def add_receiver(self, url: str) -> str:
        self.world.applications.add_receiver(url, random.Random(0))
        return url

    def create(
        self,
        tenant: str = "acme",
        *,
        key: str | None = "key",
        webhook: str | None = None,
        events: tuple[str, ...] | None = None,
        cancel_after_seconds: int | None = None,
        by_name: bool = False,
        entry: ModelEntry | None = None,
    ) -> Job | None:
        """Create a job as a client does: with a key it repeats what got no response."""
        submission = Submission(kind=SubmissionKind.VERSION, version=_VERSION)
        if by_name:
            submission = Submission(kind=SubmissionKind.MODEL, owner="acme", name="model")
        request = JobRequest(
            submission=submission,
            input={"prompt": "a cat"},
            public_base_url="https://api.proxy.test/prod",
            correlation_id="scenario",
            webhook=webhook,
            webhook_events=events,
            cancel_after_seconds=cancel_after_seconds,
            idempotency_key=key,
            entry=entry,
        )
        principal = Principal(tenant, "key-1")
        for _ in range(_MAX_ATTEMPTS if key else 1):
            try:
                result = self.world.call_api(lambda ingest: ingest.create(request, principal))
            except ServiceUnavailableError:
                self.world.scheduler.sleep(1.0)
                continue
            self._invariants.accept(result.job)
            if key is not None:
                self._check_key(f"{tenant} {key}", result.job.id)
            return result.job
        return None

    def _check_key(self, key: str, job_id: str) -> None:
        first = self._jobs_by_key.setdefault(key, job_id)
        if first != job_id:
            self._invariants.report("one job per idempotency key", f"{key}: {first} and {job_id}")

    def create_and_cancel(
        self, *, after_seconds: float, tripped_seconds: float = 0.0, by_name: bool = False
    ) -> None:
        """Create a job and cancel it later, after an operator has opened the breaker if that is given."""
        job = self.create(by_name=by_name)
        if job is None:
            return
        self.world.scheduler.sleep(after_seconds)
        if tripped_seconds:
            self._retry(lambda: build_breaker(self.world.components).trip(seconds=tripped_seconds))
        self._invariants.canceled_by_caller.add((job.tenant, job.id))
        for _ in range(_MAX_ATTEMPTS):
            try:
                self.world.call_api(lambda ingest: ingest.canceler.cancel_job(job.tenant, job.id))
            except ServiceUnavailableError:
                self.world.scheduler.sleep(1.0)
                continue
            return

    def create_and_delete(self, *, webhook: str, after_seconds: float) -> None:
        """Create a job and delete it later, when it has ended."""
        job = self.create(webhook=webhook, events=("completed",))
        if job is None or self._deletions is None:
            return
        self.world.scheduler.sleep(after_seconds)
        deleter, key = build_deleter(self.world.components), (job.tenant, job.id)
        self._deletions.requested.add(key)
        self._retry(lambda: deleter.delete(*key))

    def trip_and_create(self, *, tripped_seconds: float) -> None:
        """Create a job after an operator has opened the breaker."""
        self._retry(lambda: build_breaker(self.world.components).trip(seconds=tripped_seconds))
        self.create()

    def create_with_deadline(self, *, repeat_after_seconds: float) -> None:
        """Create a job that may wait for 5 s; SQS delivers its message a second time after that."""
        job = self.create(cancel_after_seconds=5)
        if job is None:
            return
        self.world.scheduler.sleep(repeat_after_seconds)
        command = DispatchCommand.for_job(DispatchKind.SUBMIT, job)
        self.world.queues.send(Queue.DISPATCH, command.to_json(), group=job.tenant)
        self.world.event_sources.poll_soon()

    def create_with_endpoint(self, *, enable_after_seconds: float) -> None:
        """Create an endpoint and a job, and enable the endpoint later, as its route does."""
        endpoints = build_endpoints(self.world.components)
        url = self.add_receiver("https://acme.test/endpoint")

        def register() -> Endpoint:
            # A create whose response is lost is not repeated: that would be a second endpoint of this URL.
            registered = endpoints.service.list_all("acme")
            return registered[0] if registered else endpoints.service.create("acme", url=url)

        endpoint = self._retry(register)
        if endpoint is None:
            return
        self._invariants.endpoints["acme", endpoint.id] = True
        self.create()
        self.world.scheduler.sleep(enable_after_seconds)

        def enable() -> None:
            before = endpoints.service.get("acme", endpoint.id)
            enabled = endpoints.service.enable("acme", endpoint.id)
            if before.missed_since is not None:
                endpoints.redelivery.redeliver_missed(enabled, before.missed_since)

        self._retry(enable)

    def _retry[T](self, function: Callable[[], T]) -> T | None:
        for _ in range(_MAX_ATTEMPTS):
            try:
                return self.world.call_function("endpoints", function)
            except (ProxyError, ProcessEndedError):
                self.world.scheduler.sleep(1.0)
        return None


def _drop(_result: object) -> None:
    """Drop a result."""
