"""The fault plan of an exploration: calls take no time, and each of them is a point at which to choose.

At a choice point the actor goes on (the default), lets others run first, dies, or loses its response. A
script names the points at which it does not simply go on, by the keys of `decisions`; the explorer learns
about every other point and its options through `on_choice`.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from replicate_proxy.aws.document_store import MAX_INLINE_BYTES
from tools.simulation.decisions import NOTHING, Decisions
from tools.simulation.faults import FaultMix, FaultPlan

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Mapping, Sequence

    from tools.simulation.aws import Call
    from tools.simulation.decisions import Rates
    from tools.simulation.scenario import Scenario
    from tools.simulation.scheduler import Actor, Scheduler
    from tools.simulation.trace import Trace

PREEMPT = "preempt"
_PAUSE = "pause "
# The options that the code under test survives in ways of its own; a scenario may exclude or add some.
CRASH_BEFORE, CRASH_AFTER, RESPONSE_LOST = "crash_before", "crash_after", "response_lost"
# The services where a repeated write leaves something else than a single one.
_REPEATS_MATTER = frozenset({"dynamodb", "sqs", "events"})
_LATE_SECONDS = 45.0
_OUTAGE_SECONDS = 30.0


def is_preemption(option: str) -> bool:
    """Return whether the option only lets others run first."""
    return option == PREEMPT or option.startswith(_PAUSE)


def is_crash(option: str) -> bool:
    """Return whether the option ends a process."""
    return option in {CRASH_BEFORE, CRASH_AFTER}


class ChoicePlan(FaultPlan):
    """Follows a script and reports the other choice points to `on_choice(actor, key, step, options)`."""

    def __init__(
        self, scheduler: Scheduler, trace: Trace, scenario: Scenario, script: Mapping[str, str]
    ) -> None:
        super().__init__(scheduler, Decisions({}), trace, quiet_from=float("inf"), mix=FaultMix())
        self.replicate_echoes_webhook = scenario.echoes_webhook
        self.replicate_webhooks_enabled = scenario.webhooks_enabled
        self.streams_enabled = scenario.streams
        self.replicate_clock_skew = 0.0
        self.list_hides_version = False
        self.max_list_lag = 0.0
        self.max_inline_bytes = MAX_INLINE_BYTES
        self.creates_per_minute = 600
        self.propagation_seconds = scenario.propagation_seconds
        self.reuses_environments = False
        self.part_bytes = 1
        self.taken: dict[str, str] = {}
        self.on_choice: Callable[[Actor, str, str, Sequence[str]], None] = lambda *_: None
        self.is_stopped = False
        self._scenario = scenario
        self._script = script
        self._histories: dict[Actor, bytes] = {}
        self._created: set[tuple[str, str]] = set()
        self._answers = list(scenario.receiver_answers)

    @property
    def has_followed_script(self) -> bool:
        """Whether no choice of the script is left."""
        return len(self.taken) == len(self._script)

    def stop(self, actor: Actor) -> None:
        """End the run: the actor dies here, and every other one at its next call."""
        self.is_stopped = True
        self._scheduler.stop()
        self._scheduler.crash(actor.process)
        self._scheduler.raise_if_crashed(actor)

    # Histories: a process that has seen the same is in the same state

    def observe(self, actor: Actor, response: object) -> None:
        process = actor.process
        earlier = self._histories.get(process, b"")
        text = f"{actor.name} {response!r}".encode()
        self._histories[process] = hashlib.blake2b(earlier + text, digest_size=12).digest()

    def describe_processes(self) -> list[tuple[str, bytes]]:
        """Return name and history of each process that lives, in the order of their first calls."""
        self._histories = {
            process: history
            for process, history in self._histories.items()
            if not process.has_ended and not process.is_crashed
        }
        return [(process.name, history) for process, history in self._histories.items()]

    # Choices

    def _decide(self, actor: Actor, step: str, options: Sequence[str]) -> str:
        if self.is_stopped:
            self.stop(actor)
        actor.decisions += 1
        key = f"{actor.name}/{actor.decisions}"
        offered = [*self._list_preemptions(), *options]
        option = self._script.get(key, NOTHING)
        self.observe(actor, (self._scheduler.now, step))
        if option:
            self.taken[key] = option
            actor.process.injected_faults += 1
            self.observe(actor, option)
        else:
            self.on_choice(actor, key, step, offered)
        return option

    def _list_preemptions(self) -> list[str]:
        """Return the ways to wait in which something else happens meanwhile."""
        scheduler = self._scheduler
        options = [PREEMPT] if scheduler.is_anything_due(scheduler.now) else []
        return options + [
            f"{_PAUSE}{seconds:g}"
            for seconds in self._scenario.pauses
            if scheduler.is_anything_due(scheduler.now + seconds)
        ]

    def _list_crashes(self, actor: Actor, *, is_write: bool) -> list[str]:
        """Return where to die here.

        A process that dies between two writes leaves the same behind wherever it dies: so it dies before its
        first call or after a write.
        """
        options = [CRASH_AFTER] if is_write else []
        return options if actor.process in self._histories else [CRASH_BEFORE, *options]

    def choose(self, actor: Actor, rates: Rates, *, kind: str) -> str:
        del rates
        if kind == "receiver":
            return self._choose_answer(actor)
        if kind == "webhook":
            return self._decide(actor, kind, self._scenario.list_faults("lost", "late"))
        duplicates = {
            "queue": self._scenario.duplicates_messages,
            "invocation": self._scenario.duplicates_invocations,
        }
        return "twice" if duplicates.get(kind) else NOTHING

    def _choose_answer(self, actor: Actor) -> str:
        """Choose what a receiver answers. Its caller knows only answers, so the rest happens here."""
        faults = self._scenario.list_faults("answer_lost", "busy")
        option = self._decide(actor, kind := "receiver", [CRASH_AFTER, *faults])
        self._wait(option)
        actor.notes[kind] = option
        answer = self._answers.pop(0) if self._answers else NOTHING
        return option if option in faults else answer

    def _choose_aws_fault(self, actor: Actor, call: Call) -> str:
        options = self._list_crashes(actor, is_write=call.is_write)
        if call.is_write and call.service in _REPEATS_MATTER and call.operation != "transact_write_items":
            options.append(RESPONSE_LOST)
        return self._decide(actor, f"{call.service}.{call.operation} {call.parameters!r}", options)

    def choose_replicate_fault(self, actor: Actor, method: str, *, is_create: bool) -> str:
        if self.is_out("replicate"):
            actor.process.injected_faults += 1
            return "status_503"
        options = self._list_crashes(actor, is_write=method == "POST")
        if is_create:
            options += [RESPONSE_LOST, *self._scenario.list_faults("late")]
        else:
            options += self._scenario.list_faults("outage")
        option = self._decide(actor, f"replicate {method}", options)
        if option == "outage":
            self.outages["replicate"] = self._scheduler.now + _OUTAGE_SECONDS
            return "status_503"
        if is_create and (not option or is_preemption(option)):
            return self._choose_first_create(actor, option)
        return option

    def _choose_first_create(self, actor: Actor, option: str) -> str:
        """Return the fault that the scenario has for the first create of each job."""
        job = actor.process.notes["job"]
        number = len(self._created)
        if job in self._created or number >= len(self._scenario.first_creates):
            return option
        self._created.add(job)
        self._wait(option)
        return self._scenario.first_creates[number]

    # What happens then

    def pause(self, actor: Actor, step: str, fault: str) -> None:
        if step:
            self._trace.add(self._scheduler.now, actor.name, step, fault)
            if fault == CRASH_BEFORE:
                self._scheduler.crash(actor.process)
            self._wait(fault)
        elif CRASH_AFTER in (fault, actor.notes.pop("receiver", NOTHING)):
            self._scheduler.crash(actor.process)
        self._scheduler.raise_if_crashed(actor)

    def _wait(self, option: str) -> None:
        if option == PREEMPT:
            self._scheduler.yield_to_others()
        elif option.startswith(_PAUSE):
            self._scheduler.sleep(float(option.removeprefix(_PAUSE)))

    def _perform(self, call: Call, perform: Callable[[], Any], fault: str) -> Any:
        actor = self._scheduler.actor
        try:
            response = super()._perform(call, perform, fault)
        except ClientError as error:
            self.observe(actor, error)
            raise
        # The body of an object is a stream; its ETag stands for it.
        self.observe(actor, {name: value for name, value in response.items() if name != "Body"})
        return response

    # Everything else is fixed

    def draw_late_create_delay(self, actor: Actor) -> float:
        del actor
        return _LATE_SECONDS

    def draw_repetition_delay(self, actor: Actor) -> float:
        del actor
        return 0.0

    def draw_run_times(self, source: random.Random) -> tuple[float, float]:
        del source
        return self._scenario.run_seconds

    def draw_webhook_delays(self, actor: Actor) -> Sequence[float]:
        return (_LATE_SECONDS if actor.notes["webhook"] == "late" else 0.0,)
