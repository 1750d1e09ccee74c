"""How long the jobs of one tenant wait behind hundreds of another, at each step of the pipeline.

Nothing fails here, and calls take so long that every queue has a backlog. No concurrency limit is set: what
keeps the tenants apart are the fair queues alone.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from replicate_proxy.auth.principal import Principal
from replicate_proxy.jobs.model import Submission, SubmissionKind
from replicate_proxy.services.ingest import JobRequest
from tools.simulation.aws.queue import choose_fairly, choose_oldest
from tools.simulation.callers import build_hook_url
from tools.simulation.decisions import Decisions
from tools.simulation.faults import FaultMix, FaultPlan
from tools.simulation.resources import Queue
from tools.simulation.run import logs_in_trace
from tools.simulation.runtime import deterministic_process, garbage_collected_at_end
from tools.simulation.scheduler import Scheduler
from tools.simulation.trace import Trace
from tools.simulation.world import World

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tools.simulation.aws import Message
    from tools.simulation.lambda_service import QueueSource
    from tools.simulation.scheduler import Actor

NOISY, QUIET = "acme", "globex"
_VERSION = "5c7d5dc6dd8bf75c1acaa8565735e7986bc5b66206b55cca93cb72c9bf15ccaa"
_START = 1767225600.0
_MAX_SECONDS = 3600.0
# Seconds of a call, by how its step begins. A file is fetched, compressed and stored.
_DURATIONS = {"replicate POST": 0.4, "download": 2.0, "POST": 0.5}
_AWS_SECONDS = 0.005
# Track and deliver are faster than what comes before them: they have a backlog if they have stood still, and
# their calls are slow.
_SLOW_FUNCTIONS = ("track-", "deliver-")
_SLOW_SECONDS = 0.3
_STOPPED = (Queue.TRACK, Queue.NOTIFY)
_STOPPED_SECONDS = 40.0
# When the quiet tenant creates its jobs: while others are dispatched and harvested, and after that.
_QUIET_STARTS = (1.0, 5.0, 10.0, 20.0, 38.0, 41.0, 45.0)
_STREAM = "stream of jobs"


@dataclass(frozen=True, slots=True)
class Fairness:
    """The longest wait of each tenant for each step, in seconds.

    `sent_seconds` is how long after its creation each job of the quiet tenant was sent to Replicate. `groups`
    are the message groups in each queue, None for messages without one.
    """

    waits: Mapping[str, Mapping[str, float]]
    sent_seconds: Sequence[float]
    groups: Mapping[str, frozenset[str | None]]


class _BusyPlan(FaultPlan):
    """No faults; every call takes its usual time."""

    def __init__(self, scheduler: Scheduler, trace: Trace, *, creates_per_minute: int) -> None:
        super().__init__(scheduler, Decisions({}), trace, quiet_from=scheduler.now, mix=FaultMix())
        self.replicate_webhooks_enabled = True
        self.streams_enabled = False
        self.creates_per_minute = creates_per_minute
        self.creates_burst = 60

    def pause(self, actor: Actor, step: str, _fault: str) -> None:
        if not step:
            return
        self._trace.add(self._scheduler.now, actor.name, step)
        aws_seconds = _SLOW_SECONDS if actor.process.name.startswith(_SLOW_FUNCTIONS) else _AWS_SECONDS
        found = (seconds for start, seconds in _DURATIONS.items() if step.startswith(start))
        self._scheduler.sleep(next(found, aws_seconds))

    def draw_run_times(self, source: random.Random) -> tuple[float, float]:
        return 0.1, source.uniform(0.5, 1.5)


class _Waits:
    """Measures how long messages and stream records wait from when they can be received."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.longest: defaultdict[str, dict[str, float]] = defaultdict(dict)
        self.groups: defaultdict[str, set[str | None]] = defaultdict(set)
        world.aws.sqs.on_receive = self._note_message
        for source in world.event_sources.streams:
            if source.function == "notify":
                source.handle = partial(self._note_records, source.handle)

    def _note_message(self, queue: str, message: Message) -> None:
        self.groups[queue].add(message.group)
        if queue in _STOPPED and message.available_at < _START + _STOPPED_SECONDS:
            return
        tenant = (message.group or "").partition("/")[0]
        self._note(queue, tenant, message.available_at)

    def _note_records(
        self, handle: Callable[..., int | None], notify: Any, records: Sequence[Mapping[str, Any]]
    ) -> int | None:
        for record in records:
            change = record["dynamodb"]
            tenant = change.get("NewImage", {}).get("tenant", {}).get("S", "")
            self._note(_STREAM, tenant, float(change["ApproximateCreationDateTime"]))
        return handle(notify, records)

    def _note(self, step: str, tenant: str, since: float) -> None:
        waits = self.longest[step]
        waits[tenant] = max(waits.get(tenant, 0.0), self._world.scheduler.now - since)


@garbage_collected_at_end()
def measure_fairness(*, jobs: int = 500, is_fair: bool = True, creates_per_minute: int = 60_000) -> Fairness:
    """Run the jobs of both tenants to their end. Without `is_fair`, queues ignore message groups."""
    scheduler = Scheduler(1, start=_START)
    trace = Trace()
    with deterministic_process(scheduler, Counter()), logs_in_trace(scheduler, trace):
        plan = _BusyPlan(scheduler, trace, creates_per_minute=creates_per_minute)
        world = World(scheduler, plan, trace)
        world.aws.sqs.delivery_order = choose_fairly if is_fair else choose_oldest
        waits = _Waits(world)
        _stop_for_a_while(world)
        source = random.Random(0)
        for tenant in (NOISY, QUIET):
            receiver = world.applications.add_receiver(build_hook_url(tenant), source)
            receiver.refused_event = ""
        for number in range(jobs):
            scheduler.spawn(f"noisy-{number}", partial(_create, world, NOISY), delay_seconds=number / 2000)
        for number, start in enumerate(_QUIET_STARTS):
            scheduler.spawn(f"quiet-{number}", partial(_create, world, QUIET), delay_seconds=start)
        try:
            scheduler.run(_START + 60)
            while scheduler.now < _START + _MAX_SECONDS and not world.is_at_rest():
                scheduler.run(scheduler.now + 60)
        finally:
            scheduler.discard()
    return Fairness(
        {step: dict(by_tenant) for step, by_tenant in waits.longest.items()},
        _measure_quiet_jobs(world),
        {queue: frozenset(groups) for queue, groups in waits.groups.items()},
    )


def _stop_for_a_while(world: World) -> None:
    for queue in _STOPPED:
        source = world.event_sources.queue_sources[queue]
        concurrency, source.max_concurrency = source.max_concurrency, 0

        def go_on(source: QueueSource = source, concurrency: int = concurrency) -> None:
            source.max_concurrency = concurrency
            source.poll()

        world.scheduler.call_at(_START + _STOPPED_SECONDS, go_on)


def _create(world: World, tenant: str) -> None:
    request = JobRequest(
        submission=Submission(kind=SubmissionKind.VERSION, version=_VERSION),
        input={"prompt": world.scheduler.actor.name},
        public_base_url="https://api.proxy.test/prod",
        correlation_id=world.scheduler.actor.name,
        webhook=build_hook_url(tenant),
        webhook_events=("start", "completed"),
    )
    world.call_api(lambda ingest: ingest.create(request, Principal(tenant, "key-1")))


def _measure_quiet_jobs(world: World) -> list[float]:
    """Return how long after its creation each job of the quiet tenant was sent to Replicate."""
    created = {job.id: job.created_at.timestamp() for job in world.truth.read_jobs() if job.tenant == QUIET}
    predictions = world.replicate.predictions.values()
    return [
        each.created - created[job_id]
        for each in predictions
        for tenant, job_id in (each.job,)
        if tenant == QUIET
    ]
