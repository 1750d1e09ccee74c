"""The small scenarios that are explored exhaustively: one or two jobs, and who acts on them.

Each scenario leaves nothing to chance. What happens at the same virtual time happens in every order that the
allowed preemptions reach: so a scenario lets things coincide that should not disturb each other.
"""

from __future__ import annotations

import random
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from replicate_proxy.auth.principal import Principal
from replicate_proxy.contracts.commands import DispatchCommand, DispatchKind
from replicate_proxy.errors import ProxyError
from replicate_proxy.jobs.model import Submission, SubmissionKind
from replicate_proxy.model_entries.entry import FallbackTarget, ModelEntry
from replicate_proxy.replicate_api.errors import UpstreamUnavailableError
from replicate_proxy.services.ingest import JobRequest
from tools.simulation.resources import Queue
from tools.simulation.scheduler import ProcessEndedError
from tools.simulation.world import ServiceUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from replicate_proxy.jobs.model import Job
    from tools.simulation.invariants import Invariants
    from tools.simulation.world import World

_VERSION = "5c7d5dc6dd8bf75c1acaa8565735e7986bc5b66206b55cca93cb72c9bf15ccaa"
_MAX_ATTEMPTS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """What is fixed about the runs of a scenario, and what may go wrong in them besides crashes.

    `start` spawns its actors. `faults` are among "lost" and "late" (a webhook of Replicate; "late" also: a
    create lands after its caller gave it up), "outage" (of Replicate, from a read on), "answer_lost" and
    "busy" (a receiver). `pauses` are preemptions that last so many seconds; without them only what is due at
    the same time can come in between. `first_creates` are what happens to the first create of each job,
    `receiver_answers` are the answers to the first requests to receivers. With `duplicates_messages`, SQS
    delivers every message twice. `choices` bounds the choices of each run of an exploration: fewer where a
    run is long.
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
    late_seconds: float = 45.0
    outage_seconds: float = 30.0
    choices: int = 2

    def list_faults(self, *options: str) -> list[str]:
        """Return those of the options that may occur."""
        return [option for option in options if option in self.faults]


class Cast:
    """Spawns the actors of a scenario, and does what callers and owners of endpoints do."""

    def __init__(self, world: World, invariants: Invariants) -> None:
        self.world = world
        self._invariants = invariants
        self._jobs_by_key: dict[str, str] = {}

    def spawn(self, name: str, function: Callable[[], object], *, delay_seconds: float = 0) -> None:
        self.world.scheduler.spawn(name, lambda: _drop(function()), delay_seconds=delay_seconds)

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
            self._retry(lambda: self.world.composition.build_breaker().trip(seconds=tripped_seconds))
        self._invariants.canceled_by_caller.add((job.tenant, job.id))
        for _ in range(_MAX_ATTEMPTS):
            try:
                self.world.call_api(lambda ingest: ingest.canceler.cancel_job(job.tenant, job.id))
            except ServiceUnavailableError:
                self.world.scheduler.sleep(1.0)
                continue
            return

    def trip_and_create(self, *, tripped_seconds: float) -> None:
        """Create a job after an operator has opened the breaker."""
        self._retry(lambda: self.world.composition.build_breaker().trip(seconds=tripped_seconds))
        self.create()

    def create_with_deadline(self, *, repeat_after_seconds: float) -> None:
        """Create a job that may wait for 5 s; SQS delivers its message a second time after that."""
        job = self.create(cancel_after_seconds=5)
        if job is None:
            return
        self.world.scheduler.sleep(repeat_after_seconds)
        command = DispatchCommand.for_job(DispatchKind.SUBMIT, job)
        self.world.queues.send(Queue.DISPATCH, command.to_json(), group=job.tenant)
        self.world.poll_soon()

    def create_with_endpoint(self, *, enable_after_seconds: float) -> None:
        """Create an endpoint and a job, and enable the endpoint later, as its route does."""
        endpoints = self.world.composition.build_endpoints()
        url = self.add_receiver("https://acme.test/endpoint")
        endpoint = self._retry(lambda: endpoints.service.create("acme", url=url))
        if endpoint is None:
            return
        self._invariants.endpoints["acme", endpoint.id] = True
        self.create()
        self.world.scheduler.sleep(enable_after_seconds)

        def enable() -> None:
            before = endpoints.service.get("acme", endpoint.id)
            enabled = endpoints.service.enable("acme", endpoint.id)
            if before.disabled_at is not None:
                endpoints.redelivery.redeliver_missed(enabled, before.disabled_at)

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


def _create_one(cast: Cast) -> None:
    cast.spawn("caller", cast.create)


def _create_with_webhook(cast: Cast, events: tuple[str, ...]) -> None:
    url = cast.add_receiver("https://acme.test/hook")
    cast.spawn("caller", partial(cast.create, webhook=url, events=events))


def _create_with_queue_limit(cast: Cast) -> None:
    fallbacks = (FallbackTarget(target="acme/second", fields={"prompt": "text"}),)
    entry = ModelEntry(name="acme/model", fallbacks=fallbacks, fallback_after_seconds=30)
    cast.spawn("caller", partial(cast.create, entry=entry))


def _create_for_two_tenants(cast: Cast) -> None:
    cast.spawn("caller-acme", partial(cast.create, "acme"))
    cast.spawn("caller-globex", partial(cast.create, "globex"))


def _create_two_equal(cast: Cast) -> None:
    for number in range(2):
        cast.spawn(f"caller-{number}", partial(cast.create, key=f"key-{number}"), delay_seconds=5.0 * number)


def _create_twice_with_one_key(cast: Cast) -> None:
    cast.spawn("caller-1", cast.create)
    cast.spawn("caller-2", cast.create)


def _call_through_breaker(cast: Cast) -> None:
    """Let calls of Replicate last so long that they meet: the breaker opens for half a minute."""

    def call(result: Callable[[], None], seconds: float) -> None:
        breaker = cast.world.composition.build_breaker()

        def wait() -> None:
            cast.world.scheduler.sleep(seconds)
            result()

        with suppress(ProxyError):
            breaker.call(wait)

    def fail() -> None:
        raise UpstreamUnavailableError("no response")

    for number in range(8):
        cast.spawn(f"failing-{number}", partial(call, fail, 1.0))
    cast.spawn("straggler", partial(call, fail, 40.0))
    for name in ("probe", "probe-2"):
        cast.spawn(name, partial(call, lambda: None, 20.0), delay_seconds=32.0)


# The sweep runs at full minutes. A job of unknown outcome is checked after 30 s, a running one after 300 s.
SCENARIOS: Mapping[str, Scenario] = {
    "webhook": Scenario(
        description="one job with a webhook: create, start, completed",
        start=partial(_create_with_webhook, events=("start", "completed")),
    ),
    "duplicates": Scenario(
        description="one job, each of whose messages is delivered twice",
        start=_create_one,
        duplicates_messages=True,
    ),
    "response-lost": Scenario(
        description="one job whose create response is lost; its first webhook comes with the sweep",
        start=_create_one,
        first_creates=("response_lost",),
        run_seconds=(60.0, 60.0),
        faults=frozenset({"lost", "late"}),
    ),
    "cancel": Scenario(
        description="one job canceled while it is submitted and starts",
        start=lambda cast: cast.spawn("caller", partial(cast.create_and_cancel, after_seconds=0.0)),
        run_seconds=(0.0, 60.0),
    ),
    "create-waits": Scenario(
        description="one job created while the breaker is open, for longer than a message may be received",
        start=lambda cast: cast.spawn("caller", partial(cast.trip_and_create, tripped_seconds=900.0)),
        choices=1,
    ),
    "cancel-waits": Scenario(
        description="one job canceled while the breaker is open, for longer than a message may be received",
        start=lambda cast: cast.spawn(
            "caller", partial(cast.create_and_cancel, after_seconds=10.0, tripped_seconds=900.0)
        ),
        run_seconds=(0.0, 3000.0),
        choices=1,
    ),
    "adoption": Scenario(
        description="two equal jobs: one adopts the prediction of the other, whose webhook comes then",
        start=_create_two_equal,
        first_creates=("reset", "response_lost"),
        echoes_webhook=False,
        # The first job adopts it with the sweep at 900 s.
        run_seconds=(925.0, 600.0),
        pauses=(60.0,),
        choices=1,
    ),
    "deadline": Scenario(
        description="one job whose message comes again after its deadline, while it is submitted slowly",
        start=lambda cast: cast.spawn("caller", partial(cast.create_with_deadline, repeat_after_seconds=10)),
        run_seconds=(0.0, 4.0),
        pauses=(3.0, 12.0),
    ),
    "two-tenants": Scenario(
        description="two jobs with equal input of two tenants, both create responses lost",
        start=_create_for_two_tenants,
        first_creates=("response_lost", "response_lost"),
        run_seconds=(60.0, 60.0),
    ),
    "sweep-webhook": Scenario(
        description="the sweep polls a running job while its webhook comes; polls fail or answer late",
        start=_create_one,
        run_seconds=(0.0, 300.0),
        faults=frozenset({"outage"}),
        pauses=(20.0,),
    ),
    "harvest-lease": Scenario(
        description="a harvest that dies or is slow, and the sweep that resumes it when its lease ends",
        start=_create_one,
        pauses=(290.0,),
    ),
    "two-deliveries": Scenario(
        description="two deliveries of one job to one receiver, which is busy or whose answer is lost",
        start=partial(_create_with_webhook, events=("start", "completed")),
        run_seconds=(0.0, 0.0),
        faults=frozenset({"answer_lost", "busy"}),
    ),
    "endpoint": Scenario(
        description="an endpoint is enabled while deliver finds it disabled",
        start=lambda cast: cast.spawn("owner", partial(cast.create_with_endpoint, enable_after_seconds=10.0)),
        run_seconds=(0.0, 10.0),
        receiver_answers=("gone",),
    ),
    "breaker": Scenario(
        description="two calls want to probe, and one from before the breaker opened fails meanwhile",
        start=_call_through_breaker,
    ),
    "queue-time": Scenario(
        description="one job whose prediction starts or succeeds while it is canceled for its wait",
        start=_create_with_queue_limit,
        run_seconds=(61.0, 30.0),
        faults=frozenset({"lost"}),
        # Until it starts, and until it has succeeded.
        pauses=(1.0, 31.0),
    ),
    "stream": Scenario(
        description="one job whose stream is recorded while a webhook comes, and canceled while it streams",
        start=lambda cast: cast.spawn(
            "caller", partial(cast.create_and_cancel, after_seconds=10.0, by_name=True)
        ),
        run_seconds=(0.0, 60.0),
        streams=True,
        choices=1,
    ),
    "idempotency-key": Scenario(
        description="a create with an idempotency key sent twice at once",
        start=_create_twice_with_one_key,
    ),
}
