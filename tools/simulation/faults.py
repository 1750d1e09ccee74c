"""What can go wrong in a run, how often, and the gate that every call of AWS passes.

Each seed draws its own mix: some kinds of fault are absent, others frequent, so that rare combinations are
not drowned by common ones (Groce et al., "Swarm Testing", 2012). Faults stop at `quiet_from`, after which the
run must come to rest.
"""

from __future__ import annotations

import random
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError, ReadTimeoutError

from replicate_proxy.aws.document_store import MAX_INLINE_BYTES
from replicate_proxy.webhooks.settings import DEFAULT_SCHEDULE_SECONDS
from tools.simulation.decisions import NOTHING, Decisions, Rates

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tools.simulation.aws import Call
    from tools.simulation.scheduler import Actor, Scheduler
    from tools.simulation.trace import Trace

_FACTORS = (0.0, 0.3, 1.0, 3.0)
_STORM_FACTORS = (0.1, 0.3, 1.0)
# Of the places of faults, and of the kinds at each of the others, that are left out of a storm.
_CALM_SHARE = 0.5
_BASE_LATENCY_SECONDS = 0.004
_SDK_TIMEOUT_SECONDS = 10.0
_LATE_SECONDS = (1.0, 40.0)
_ERROR_CODES = {
    "dynamodb": ("ThrottlingException", 400),
    "sqs": ("ServiceUnavailable", 503),
    "events": ("InternalException", 500),
    "s3": ("SlowDown", 503),
}
# The sweep runs at full minutes.
_SWEEP_SECONDS = 60.0
_MAX_REPETITION_SECONDS = 60.0
_MAX_FILE_DELAY_SECONDS = 2400.0
_FAILURES = frozenset({"rejected", "timeout", "late"})
_NO_FAULTS = Rates()


@dataclass(slots=True)
class FaultMix:
    """The rates of one run. Rates of AWS are per call, those of Replicate per request."""

    aws_reads: Rates = field(default_factory=Rates)
    aws_writes: Rates = field(default_factory=Rates)
    replicate_creates: Rates = field(default_factory=Rates)
    replicate_reads: Rates = field(default_factory=Rates)
    webhooks: Rates = field(default_factory=Rates)
    messages: Rates = field(default_factory=Rates)
    indexes: Rates = field(default_factory=Rates)
    outcomes: Rates = field(default_factory=Rates)
    runs: Rates = field(default_factory=Rates)
    streams: Rates = field(default_factory=lambda: Rates(empty=0.2))
    # Of asynchronous invocations
    invocations: Rates = field(default_factory=Rates)

    @classmethod
    def draw(cls, source: random.Random) -> FaultMix:
        """Draw the mix of a seed."""

        def scale(**rates: float) -> Rates:
            return Rates(**{name: rate * source.choice(_FACTORS) for name, rate in rates.items()})

        crash = source.choice(_FACTORS)
        pause = source.choice(_FACTORS)
        processes = {"crash_before": 0.002 * crash, "crash_after": 0.002 * crash}
        pauses = {"pause_before": 0.004 * pause, "pause_after": 0.004 * pause}
        reads = scale(rejected=0.004)
        writes = scale(rejected=0.004, response_lost=0.006, timeout=0.003, late=0.002)
        creates = scale(
            refused=0.03, reset=0.02, response_lost=0.04, timeout=0.02, late=0.02, status_500=0.01,
            status_500_after=0.03, status_503=0.01, status_429=0.03, broken_json=0.02,
        )  # fmt: skip
        calls = scale(refused=0.02, reset=0.02, response_lost=0.02, status_503=0.02, broken_json=0.01)
        return cls(
            aws_reads=_merge(reads, processes, pauses),
            aws_writes=_merge(writes, processes, pauses),
            replicate_creates=_merge(creates, processes, pauses),
            replicate_reads=_merge(calls, processes, pauses),
            webhooks=scale(lost=0.2, twice=0.1, late=0.1, very_late=0.02),
            messages=scale(twice=0.02, late=0.05, very_late=0.01),
            indexes=scale(late=0.05, very_late=0.01),
            outcomes=scale(failed=0.08, failed_transiently=0.08),
            runs=scale(long=0.1, instant=0.1, stuck=0.02),
        )

    @classmethod
    def draw_storm(cls, source: random.Random) -> FaultMix:
        """Draw a mix of few kinds of faults, each far more frequent than in any mix of `draw`."""

        def choose(**rates: float) -> Rates:
            if source.random() < _CALM_SHARE:
                return Rates()
            chosen = {name: rate for name, rate in rates.items() if source.random() < 1 - _CALM_SHARE}
            return Rates(**{name: rate * source.choice(_STORM_FACTORS) for name, rate in chosen.items()})

        return cls(
            aws_reads=choose(rejected=0.3, crash_before=0.02, pause_before=0.05),
            aws_writes=choose(
                rejected=0.15, response_lost=0.2, timeout=0.08, late=0.08,
                crash_before=0.01, crash_after=0.02, pause_before=0.05, pause_after=0.05,
            ),
            replicate_creates=choose(
                refused=0.1, reset=0.1, response_lost=0.2, timeout=0.1, late=0.1, status_500=0.05,
                status_500_after=0.1, status_503=0.05, status_429=0.15, broken_json=0.05,
            ),
            replicate_reads=choose(
                refused=0.2, reset=0.2, response_lost=0.2, status_503=0.2, broken_json=0.1,
            ),
            webhooks=choose(lost=0.4, twice=0.2, late=0.2, very_late=0.2),
            # A message that waits is sent again each half minute, and so is each copy of it.
            messages=choose(twice=0.03, late=0.3, very_late=0.1),
            indexes=choose(late=0.4, very_late=0.3),
            outcomes=choose(failed=0.3, failed_transiently=0.4),
            runs=choose(long=0.3, instant=0.3, stuck=0.05),
        )  # fmt: skip


def _draw_invocation_rates(source: random.Random) -> Rates:
    factor = source.choice(_FACTORS)
    return Rates(lost=0.05 * factor, twice=0.05 * factor, late=0.1 * factor)


def _merge(rates: Rates, *others: dict[str, float]) -> Rates:
    merged = dict(rates.items())
    for other in others:
        merged |= other
    return Rates(**merged)


class FaultPlan:
    """Decides about every fault of one run. Built before the rest of the world, which asks it."""

    def __init__(
        self,
        scheduler: Scheduler,
        decisions: Decisions,
        trace: Trace,
        *,
        quiet_from: float,
        mix: FaultMix | None = None,
    ) -> None:
        source = random.Random(f"{scheduler.seed}/plan")
        self.mix = mix or FaultMix.draw(source)
        if mix is None:
            self.mix.invocations = _draw_invocation_rates(random.Random(f"{scheduler.seed}/invocations"))
        self.quiet_from = quiet_from
        self.replicate_echoes_webhook = source.random() < 0.6
        self.replicate_webhooks_enabled = source.random() < 0.85
        self.replicate_clock_skew = source.choice((0.0, 0.0, -20.0, 20.0))
        self.list_hides_version = source.random() < 0.3
        # Whether models that are called by name stream text.
        self.streams_enabled = scheduler.seed % 3 == 0
        # Only runs with invalid inputs have the calls that validation makes.
        self.input_validation_enabled = False
        # Those of the template by default
        self.timeouts: Mapping[str, Any] = {}
        self.schedule_seconds = DEFAULT_SCHEDULE_SECONDS
        self.slow_start_share = 0.0
        self.late_file_share = 0.0
        self.files_per_output = 1
        self.max_list_lag = source.choice((0.0, 5.0, 60.0, 100.0))
        # Where documents are not inline, their objects can be overwritten.
        self.max_inline_bytes = source.choice((0, MAX_INLINE_BYTES, MAX_INLINE_BYTES))
        self.creates_per_minute = source.choice((600, 600, 12))
        self.creates_burst = 5
        # The results of a few lines are several parts.
        self.part_bytes = 900
        # The time that a stream, an index and the event bus take.
        self.propagation_seconds = 0.05
        # Whether invocations share execution environments, and the caches in them.
        self.reuses_environments = True
        self.outages: dict[str, float] = {}
        self.replicate_outage_faults: Sequence[str] = ("status_503",)
        self.occurred: dict[str, int] = {}
        self._scheduler = scheduler
        self._decisions = decisions
        self._trace = trace

    @property
    def is_quiet(self) -> bool:
        """Whether faults have stopped."""
        return self._scheduler.now >= self.quiet_from

    def is_out(self, dependency: str) -> bool:
        """Return whether the dependency ("dynamodb", "replicate" …) is in an outage."""
        until = self.outages.get(dependency)
        return until is not None and until > self._scheduler.now and not self.is_quiet

    def outages_active(self) -> bool:
        """Return whether any dependency is in an outage."""
        return any(until > self._scheduler.now for until in self.outages.values())

    def choose(self, actor: Actor, rates: Rates, *, kind: str) -> str:
        """Decide about one fault, and count it."""
        is_quiet = self._scheduler.now >= self.quiet_from
        option = self._decisions.choose(actor, _NO_FAULTS if is_quiet else rates)
        if option:
            self.occurred[f"{kind} {option}"] = self.occurred.get(f"{kind} {option}", 0) + 1
        return option

    # AWS

    def pass_gate(self, call: Call, perform: Callable[[], Any]) -> Any:
        """Carry out one call of AWS: others may run before and after it, and it may fail in every way."""
        actor = self._scheduler.current
        if actor is None:
            return perform()
        fault = self._choose_aws_fault(actor, call)
        if fault in _FAILURES:
            actor.process.failed_calls.append(call)
        self.pause(actor, f"{call.service}.{call.operation} {call.resource}", fault)
        if fault == "rejected":
            raise _build_error(call)
        if fault == "late":
            self._land_later(actor, perform)
        response = self._perform(call, perform, fault)
        self.pause(actor, "", fault)
        return response

    def _choose_aws_fault(self, actor: Actor, call: Call) -> str:
        if self.is_out(call.service):
            actor.process.injected_faults += 1
            return "rejected"
        rates = self.mix.aws_writes if call.is_write else self.mix.aws_reads
        return self.choose(actor, rates, kind=call.service)

    def _perform(self, call: Call, perform: Callable[[], Any], fault: str) -> Any:
        if fault == "response_lost" and call.operation != "transact_write_items":
            # The SDK repeats a request whose response is lost; the caller sees the second response. A
            # transaction carries a token, so that its repetition has no effect.
            with suppress(ClientError):
                perform()
        response = perform()
        if fault == "timeout":
            self._scheduler.sleep(_SDK_TIMEOUT_SECONDS)
            raise ReadTimeoutError(endpoint_url=call.service)
        return response

    def _land_later(self, actor: Actor, perform: Callable[[], Any]) -> None:
        """Let the call take effect some time after its caller has given it up."""

        def land() -> None:
            with suppress(ClientError):
                perform()

        delay = actor.random.uniform(*_LATE_SECONDS)
        self._scheduler.call_at(self._scheduler.now + delay, land)
        self._scheduler.sleep(_SDK_TIMEOUT_SECONDS)
        raise ReadTimeoutError(endpoint_url="late")

    def draw_repetition_delay(self, actor: Actor) -> float:
        """Return when the second of two copies of an asynchronous invocation reaches its function."""
        return actor.random.uniform(0.0, _MAX_REPETITION_SECONDS)

    # Processes

    def observe(self, actor: Actor, response: object) -> None:
        """Learn what a call of Replicate or of a receiver returned to the actor."""

    def pause(self, actor: Actor, step: str, fault: str) -> None:
        """Let others run, before a call (`step` names it) or after it (`step` is empty)."""
        scheduler = self._scheduler
        if step:
            self._trace.add(scheduler.now, actor.name, step, fault)
        if fault:
            if fault == ("crash_before" if step else "crash_after"):
                scheduler.crash(actor.process)
            elif fault == ("pause_before" if step else "pause_after"):
                scheduler.sleep(min(actor.random.expovariate(1 / 15), 100.0))
        scheduler.sleep(_BASE_LATENCY_SECONDS * actor.random.random())

    # Replicate

    def choose_replicate_fault(self, actor: Actor, method: str, *, is_create: bool) -> str:
        if self.is_out("replicate"):
            actor.process.injected_faults += 1
            return actor.random.choice(self.replicate_outage_faults)
        rates = self.mix.replicate_creates if is_create else self.mix.replicate_reads
        return self.choose(actor, rates, kind=f"replicate {'create' if is_create else method}")

    def draw_late_create_delay(self, actor: Actor) -> float:
        """Return when a create lands whose caller got no response. The list window covers five minutes."""
        return actor.random.uniform(1.0, 60.0)

    def draw_list_lag(self, source: random.Random) -> float:
        return source.uniform(0.0, self.max_list_lag)

    def draw_outcome(self, source: random.Random) -> str:
        return (NOTHING if self.is_quiet else self.mix.outcomes.pick(source.random())) or "succeeded"

    def draw_run_times(self, source: random.Random) -> tuple[float, float]:
        """Return the seconds until a prediction starts and those that it runs."""
        kind = self.mix.runs.pick(source.random())
        if kind == "instant":
            return 0.01, 0.02
        if kind == "long":
            return source.uniform(1, 300), source.uniform(60, 1800)
        if kind == "stuck":
            return source.uniform(600, 3000), source.uniform(600, 3000)
        return source.uniform(0.05, 3.0), source.uniform(0.2, 20.0)

    def draw_slow_start(self, prediction_id: str) -> float:
        """Return the seconds until a prediction starts, 0 for one that does not start slowly.

        No draw is made from the other numbers. Half of these predictions start just after a sweep, when those
        that have waited for too long are being canceled.
        """
        if self.slow_start_share == 0:
            return 0.0
        source = random.Random(f"{self._scheduler.seed}/{prediction_id}/start")
        if source.random() >= self.slow_start_share:
            return 0.0
        delay = source.uniform(3.0, 240.0)
        if source.random() < 0.5:
            return delay
        until_sweep = _SWEEP_SECONDS - (self._scheduler.now + delay) % _SWEEP_SECONDS
        return delay + until_sweep + source.uniform(0.0, 0.4)

    def is_file_late(self, url: str, ended: float) -> bool:
        """Return whether a file cannot be fetched yet, for some time after the end of its prediction.

        No draw is made from the other numbers.
        """
        if self.late_file_share == 0 or self.is_quiet:
            return False
        source = random.Random(f"{self._scheduler.seed}/{url}")
        is_late = source.random() < self.late_file_share
        return is_late and self._scheduler.now < ended + source.uniform(0, _MAX_FILE_DELAY_SECONDS)

    def is_webhook_lost(self, actor: Actor) -> bool:
        choice = self.choose(actor, self.mix.webhooks, kind="webhook")
        actor.notes["webhook"] = choice
        return choice == "lost"

    def draw_webhook_delays(self, actor: Actor) -> Sequence[float]:
        """Return the delay of each copy of a webhook call."""
        choice, source = actor.notes["webhook"], actor.random
        if choice == "twice":
            return 0.05, source.uniform(0.0, 60.0)
        if choice == "late":
            return (source.uniform(0.0, 60.0),)
        if choice == "very_late":
            return (source.uniform(60.0, 1500.0),)
        return (source.uniform(0.01, 0.2),)


def _build_error(call: Call) -> ClientError:
    if call.operation == "transact_write_items":
        return _build_conflict(call)
    code, status = _ERROR_CODES.get(call.service, ("InternalFailure", 500))
    response: Any = {"Error": {"Code": code, "Message": ""}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(response, call.operation)


def _build_conflict(call: Call) -> ClientError:
    """Return the error of a transaction of which another one writes an item at the same time.

    Calls here are not concurrent, so that no transaction conflicts by itself. It is the last item, which is
    a budget window where there are any, as the most requests write those.
    """
    reasons = [{"Code": "None"} for _ in call.parameters["TransactItems"]]
    reasons[-1] = {"Code": "TransactionConflict"}
    response: Any = {
        "Error": {"Code": "TransactionCanceledException", "Message": ""},
        "CancellationReasons": reasons,
        "ResponseMetadata": {"HTTPStatusCode": 400},
    }
    return ClientError(response, call.operation)
