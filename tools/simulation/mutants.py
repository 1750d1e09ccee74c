"""Deliberately broken variants of the code, which the simulation must catch.

Each one removes what keeps one guarantee: a condition, an order, a wait. A mutant that survives is a gap in
the simulation, not a strength of the code.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from unittest import mock

from replicate_proxy.accounts.per_account import PerAccount
from replicate_proxy.audit.log import StoredAuditLog
from replicate_proxy.auth.keys import ApiKey, rotate_key
from replicate_proxy.aws import delivery_store, job_store
from replicate_proxy.aws.audit_store import DynamoAuditStore
from replicate_proxy.aws.budget_store import DynamoBudgetedJobs
from replicate_proxy.aws.dynamodb import to_item, to_value, translate_dynamodb_errors
from replicate_proxy.aws.idempotency_store import DynamoIdempotencyStore
from replicate_proxy.aws.job_records import record_from_job
from replicate_proxy.aws.key_store import DynamoKeyStore, record_from_key
from replicate_proxy.aws.receiver_limit_store import DynamoReceiverLimitStore
from replicate_proxy.aws.row_removers import DynamoDeliveryRemover
from replicate_proxy.aws.slot_store import DynamoSlotStore
from replicate_proxy.aws.usage_store import DynamoUsageStore
from replicate_proxy.concurrency import releases
from replicate_proxy.concurrency.gate import SlotGate
from replicate_proxy.concurrency.repair import SlotRepair
from replicate_proxy.costs import calculate
from replicate_proxy.deletion import model as deletion_model
from replicate_proxy.deletion.model import Deletion
from replicate_proxy.errors import RetryableError
from replicate_proxy.jobs import reports, state_machine, transitions
from replicate_proxy.jobs.changes import (
    CheckScheduled,
    Claimed,
    EndedByProxy,
    HarvestLeaseAcquired,
    QueueTimeExceeded,
    Reported,
)
from replicate_proxy.jobs.model import SHARED_ACCOUNT, AttemptOutcome, JobStatus
from replicate_proxy.jobs.timeouts import JobTimeouts
from replicate_proxy.jobs.transitions import finish, forget_prediction
from replicate_proxy.jobs.updater import JobUpdater
from replicate_proxy.operations import keys
from replicate_proxy.operations.job_retries import RetryReservations
from replicate_proxy.replicate_api.callback_url import AttemptReference
from replicate_proxy.replicate_api.circuit_breaker_store import BreakerStore
from replicate_proxy.replicate_api.errors import NotAcceptedError, OutcomeUnknownError, RejectedError
from replicate_proxy.replicate_api.predictions import UpstreamPredictionReader, UpstreamPredictionWriter
from replicate_proxy.services import cancel_prediction, harvest, resolve_submission
from replicate_proxy.services.cancel_prediction import PredictionCanceler
from replicate_proxy.services.check_outcome import CheckOutcome
from replicate_proxy.services.dispatch import Dispatcher
from replicate_proxy.services.ingest import JobFactory
from replicate_proxy.services.reconcile import Reconciler
from replicate_proxy.services.resolve_submission import SubmissionResolver, _SearchResult
from replicate_proxy.usage import model as usage_model
from replicate_proxy.usage.counter import UsageCounter
from replicate_proxy.webhooks import deliverer
from replicate_proxy.webhooks.deliverer import Deliverer
from replicate_proxy.webhooks.delivery_updater import DeliveryUpdater, LoadedDelivery
from replicate_proxy.webhooks.notifier import Notifier
from replicate_proxy.webhooks.redelivery import RedeliveryService
from replicate_proxy.webhooks.request_builder import RequestBuilder
from tools.simulation.batch_mutants import BATCH_MUTANTS, PROGRESS_MUTANT, PROGRESS_SCRIPT
from tools.simulation.decisions import Rates
from tools.simulation.explore import Budget, explore, run_scenario
from tools.simulation.faults import FaultMix
from tools.simulation.read_mutants import RESULT_MUTANTS, SEARCH_MUTANTS
from tools.simulation.run import RunSettings, run_seed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from datetime import datetime

    from replicate_proxy.concurrency.model import Limit
    from replicate_proxy.jobs.model import Account, Job

SETTINGS = RunSettings(jobs=25)
_WITH_ACCOUNTS = RunSettings(jobs=25, own_account_share=1.0)
_WITH_FALLBACKS = RunSettings(jobs=25, fallback_share=1.0)
_WITH_QUEUE_LIMITS = RunSettings(jobs=25, fallback_share=1.0, queue_limit_share=1.0)
_WITH_RETRIES = RunSettings(jobs=25, retry_share=1.0)
_WITH_DELETIONS = RunSettings(jobs=25, delete_share=1.0)
_WITH_BATCHES = RunSettings(jobs=25, delete_share=0.3, batch_share=1.0)
_WITH_SEARCHES = RunSettings(jobs=25, delete_share=0.3, searches=12)
_WITH_LIMITS = RunSettings(jobs=25, fallback_share=0.3, limited_share=1.0)


@dataclass(frozen=True)
class Mutant:
    """What is broken: attributes of modules or classes with their replacements.

    `mix` are the faults of its runs where those of a seed meet the broken part too rarely; `scenario` is
    explored instead where the broken part takes a certain order of steps, or run with a `script` where it
    is too long for that.
    """

    name: str
    guarantee: str
    patches: tuple[tuple[Any, str, Any], ...]
    mix: FaultMix | None = None
    settings: RunSettings = SETTINGS
    scenario: str = ""
    script: Mapping[str, str] | None = None

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Break the code for the block."""
        with ExitStack() as stack:
            for target, attribute, replacement in self.patches:
                stack.enter_context(mock.patch.object(target, attribute, replacement))
            yield


@dataclass(frozen=True, slots=True)
class Verdict:
    """The seed or scenario that caught a mutant, after `runs`, and the guarantee that it broke; or empty."""

    mutant: str
    runs: int
    found: str = ""
    guarantee: str = ""


def hunt(mutant: Mutant, *, first_seed: int = 1, max_seeds: int = 200) -> Verdict:
    """Run seeds until one catches the mutant, or explore its scenario."""
    with mutant.applied():
        if mutant.scenario:
            return _explore(mutant)
        for count in range(1, max_seeds + 1):
            seed = first_seed + count - 1
            violation = run_seed(seed, mutant.settings, mix=mutant.mix).violation
            if violation is not None:
                return Verdict(mutant.name, count, f"seed {seed}", violation.guarantee)
    return Verdict(mutant.name, max_seeds)


def _explore(mutant: Mutant) -> Verdict:
    if mutant.script is not None:
        violation = run_scenario(mutant.scenario, mutant.script).violation
        found = ("", "") if violation is None else (f"scenario {mutant.scenario}", violation.guarantee)
        return Verdict(mutant.name, 1, *found)
    exploration = explore(mutant.scenario, Budget(crashes=0, faults=0), stops_at_violation=True)
    for guarantee in exploration.violations:
        return Verdict(mutant.name, exploration.runs, f"scenario {mutant.scenario}", guarantee)
    return Verdict(mutant.name, exploration.runs)


def hunt_by_number(number: int, *, max_seeds: int) -> Verdict:
    """Hunt a mutant in a worker process, to which the mutant itself cannot be sent."""
    return hunt(MUTANTS[number], max_seeds=max_seeds)


def _allow(change: type, *statuses: JobStatus) -> Mapping[Any, Any]:
    return {**state_machine.ALLOWED, change: state_machine.ALLOWED[change] | frozenset(statuses)}


def _save_without_condition(self: Any, job: Job) -> Job:
    saved = replace(job, revision=job.revision + 1)
    self._client.put_item(TableName=self._table, Item=to_item(record_from_job(saved)))
    return saved


def _create_as_if_not_accepted(self: Any, *arguments: Any, **options: Any) -> Any:
    try:
        return _create(self, *arguments, **options)
    except OutcomeUnknownError as error:
        raise NotAcceptedError("taken for not accepted") from error


def _create_again_if_rejected(self: Any, *arguments: Any, **options: Any) -> Any:
    try:
        return _create(self, *arguments, **options)
    except RejectedError as error:
        raise NotAcceptedError("taken for transient") from error


def _create_once(self: Any, *arguments: Any, **options: Any) -> Any:
    try:
        return _create(self, *arguments, **options)
    except NotAcceptedError as error:
        raise RejectedError(503, "taken for permanent", "") from error


def _end_without_metrics(end: Any, *_facts: Any) -> Any:
    return replace(end, replicate_status="aborted")


def _cancel_or_fail(self: Any, job: Job) -> Any:
    prediction = self.get_client(job.account).cancel(job.replicate_id)
    return prediction if prediction.status in {"canceled", "aborted"} else None


def _notify_and_skip(self: Any, changes: Any) -> None:
    _notify(self, changes)


def _count_and_skip(self: Any, changes: Any) -> None:
    _count_usage(self, changes)


def _acquire_whatever_is_taken(self: Any, limit: Limit, holder: str, revision: int) -> Any:
    return _try_acquire(self, replace(limit, max_concurrency=limit.max_concurrency + 1), holder, revision)


def _hold_and_leave(self: Any, *arguments: Any) -> None:
    line, self._line = self._line, mock.Mock()
    try:
        _hold(self, *arguments)
    finally:
        self._line = line


def _release_any_revision(self: Any, limit_name: str, holder: str, *, up_to_revision: int) -> Any:
    return _release_slot(self, limit_name, holder, up_to_revision=up_to_revision + 1_000_000)


def _mark_without_condition(self: Any, job: Any, now: Any) -> Any:
    mark = _build_mark(self, job, now)
    del mark["Put"]["ConditionExpression"]
    return mark


def _reserve_without_condition(self: Any, state: Any, amount: int) -> Any:
    item = _build_reservation(self, state, amount)
    del item["Update"]["ConditionExpression"], item["Update"]["ExpressionAttributeValues"][":most"]
    return item


def _move_head_without_condition(self: Any, record: Any) -> Any:
    item = _build_head_update(self, record)
    del item["Update"]["ConditionExpression"]
    item["Update"]["ExpressionAttributeValues"].pop(":old", None)
    return item


def _create_and_reserve_later(self: Any, jobs: Any, hold: Any, *, batch: Any = None) -> None:
    _create_budgeted(self, jobs, replace(hold, states=()), batch=batch)
    for state in hold.states:
        with translate_dynamodb_errors("reserve"):
            self._client.transact_write_items(
                TransactItems=[self._build_reservation(state, hold.total_micro_usd)]
            )


def _claim_probe_of_others(self: Any) -> bool:
    if self.read().state == "closed" or self.read().open_until > self._now_ms():
        return False
    values = {"half_open": "half-open", "owner": self._owner_id, "until": self._now_ms() + 60_000}
    return bool(self._update("SET #state = :half_open, probe_owner = :owner, probe_until = :until", values))


def _postpone_by_failing(_self: Any, _job: Job, delay_seconds: float, *_reason: Any) -> None:
    raise RetryableError("not now", retry_after=delay_seconds)


def _start_fallback_at_once(job: Job, _change: Any, now: datetime, timeouts: Any) -> Job:
    return transitions.start_fallback(job, now, timeouts, outcome=AttemptOutcome.FAILED, reason="slow")


def _apply_end_of_any_status(job: Job, change: Any, now: Any, _timeouts: Any) -> Job:
    return finish(job, change.status, now, error=change.error)


def _claim_without_revoking(self: Any, job: Job, replicate_id: str) -> None:
    self._store.claim_prediction(replicate_id, job.tenant, job.id, now=self._clock.now())


def _lease_without_condition(job: Job, change: Any, _now: Any, _timeouts: Any) -> Job:
    return replace(job, lease_until=change.lease_until, next_check_at=change.lease_until)


def _schedule_check_of_any_status(job: Job, change: Any, _now: Any, _timeouts: Any) -> Job:
    return replace(job, next_check_at=change.next_check_at, lease_until=None)


def _poll_after_hours(_self: Any, now: Any, _checks: int) -> Any:
    return now + timedelta(hours=2)


def _expire_soon(_self: Any, now: Any) -> int:
    return int((now + timedelta(minutes=20)).timestamp())


def _forget_all_but_the_stream(job: Job) -> Job:
    return replace(forget_prediction(job), stream_url=job.stream_url)


def _end_without_output(job: Job, change: Reported, now: datetime) -> Job:
    return replace(job, completed_at=change.completed_at or now)


def _only_postpone(reconciler: Any, job: Job) -> CheckOutcome:
    reconciler._schedule_next_check(job, 600)  # noqa: SLF001 - what a mutant breaks is private
    return CheckOutcome.STILL_RUNNING


def _record_before_saving(self: Any, delivery: Any, prepared: Any, response: Any, now: Any) -> Any:
    self._record_attempt(delivery, prepared, response, None, now)
    self._updater.mark_succeeded(delivery, now)
    return self._updater.find_next(delivery)


def _put_without_write_id(
    client: Any, table: str, record: Any, operation: str, *, condition: str, values: Any = None
) -> None:
    options = {"ExpressionAttributeValues": {n: to_value(v) for n, v in values.items()}} if values else {}
    with translate_dynamodb_errors(operation):
        client.put_item(TableName=table, Item=to_item(record), ConditionExpression=condition, **options)


def _update_without_condition(self: Any, *arguments: Any, **options: Any) -> Any:
    return _update_receiver(self, *arguments, **(options | {"condition": None}))


def _open_unless_open(self: Any, opened_by: str, *, seconds: float, force: bool = False) -> None:
    if self.read(fresh=True).state != "open":
        _open_breaker(self, opened_by, seconds=seconds, force=force or self._record.state == "half-open")


def _save_key_without_condition(self: Any, key: ApiKey) -> ApiKey:
    saved = replace(key, revision=key.revision + 1)
    self._client.put_item(TableName=self._table, Item=to_item(record_from_key(saved)))
    return saved


def _rotate_and_keep_one(*arguments: Any, **options: Any) -> Any:
    key, secret = rotate_key(*arguments, **options)
    return replace(key, previous_digests=key.previous_digests[:1]), secret


def _read_with_the_shared_token(self: Any, account: Account) -> Any:
    value = _get_of_account(self, account)
    return _get_of_account(self, SHARED_ACCOUNT) if isinstance(value, UpstreamPredictionReader) else value


def _assign_present_account(self: Any, job: Job) -> Job:
    return replace(job, replicate_account=self._find_account(job.tenant).name)


_get_of_account: Callable[..., Any] = PerAccount.of
_update_receiver: Callable[..., Any] = DynamoReceiverLimitStore._update  # noqa: SLF001 - as above
_open_breaker: Callable[..., Any] = BreakerStore.open
LATE_WEBHOOKS = FaultMix(
    replicate_creates=Rates(reset=0.15, response_lost=0.3), webhooks=Rates(lost=0.2, very_late=0.7)
)
_UNKNOWN_OUTCOMES = FaultMix(
    replicate_creates=Rates(reset=0.3, response_lost=0.5), webhooks=Rates(lost=0.3, very_late=0.7)
)
_UNHEARD_CREATES = FaultMix(
    replicate_creates=Rates(status_500_after=0.4, reset=0.1), webhooks=Rates(lost=0.7)
)
_REPEATED_AND_SLOW = FaultMix(
    messages=Rates(twice=0.5), aws_reads=Rates(pause_after=0.1), aws_writes=Rates(pause_after=0.1)
)
# The process that records a change ends after that, and another one records it while its job is deleted.
_RECORDED_TWICE = {"notify-0-4/5": "crash_after", "notify-0-6/2": "pause 10"}
_LONG_RUNS = FaultMix(runs=Rates(long=1.0))
_LOST_RESPONSES = FaultMix(aws_writes=Rates(response_lost=0.08), runs=Rates(instant=0.3))
_create: Callable[..., Any] = UpstreamPredictionWriter.create
_notify: Callable[..., Any] = Notifier.notify
_build_reservation: Callable[..., Any] = DynamoBudgetedJobs._build_reservation  # noqa: SLF001 - what is broken
_build_head_update: Callable[..., Any] = DynamoAuditStore._build_head_update  # noqa: SLF001 - what is broken
_create_budgeted: Callable[..., Any] = DynamoBudgetedJobs.create
_count_usage: Callable[..., Any] = UsageCounter.count
_try_acquire: Callable[..., Any] = DynamoSlotStore._try_acquire  # noqa: SLF001 - what is broken
_release_slot: Callable[..., Any] = DynamoSlotStore.release
_hold: Callable[..., Any] = SlotGate._hold  # noqa: SLF001 - what is broken
_build_mark: Callable[..., Any] = DynamoUsageStore._build_mark  # noqa: SLF001 - what is broken
_transitions = state_machine._TRANSITIONS  # noqa: SLF001 - as above

MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        "jobs are saved whatever their revision",
        "never paid twice",
        ((job_store.DynamoJobStore, "save", _save_without_condition),),
    ),
    Mutant(
        "a job can be claimed twice",
        "never paid twice",
        ((state_machine, "ALLOWED", _allow(Claimed, JobStatus.SUBMITTING)),),
    ),
    Mutant(
        "an unknown outcome counts as not accepted",
        "never paid twice",
        ((UpstreamPredictionWriter, "create", _create_as_if_not_accepted),),
    ),
    Mutant(
        "a job is sent again without a look at Replicate's list",
        "never paid twice",
        ((SubmissionResolver, "_search", lambda _self, _job: _SearchResult()),),
    ),
    Mutant(
        "equal requests of other tenants do not matter",
        "tenants are isolated",
        ((SubmissionResolver, "_find_rivals", lambda _self, _job, _predictions: []),),
        mix=LATE_WEBHOOKS,
    ),
    Mutant(
        "what an ended job may own is adopted by others",
        "tenants are isolated",
        ((job_store.DynamoJobStore, "dispute_prediction", lambda *_arguments, **_options: None),),
        mix=_UNKNOWN_OUTCOMES,
    ),
    Mutant(
        "an adopted prediction is kept when it proves to be another job's",
        "a prediction is held by one job",
        ((JobUpdater, "claim_prediction", _claim_without_revoking),),
        scenario="adoption",
        script={"sweep-15.2/1": "pause 60"},
    ),
    Mutant(
        "a final job takes reports",
        "a final job never changes",
        ((state_machine, "ALLOWED", _allow(Reported, *JobStatus)),),
    ),
    Mutant(
        "a harvester does not respect the lease of another",
        "one harvester at a time",
        (
            (
                state_machine,
                "_TRANSITIONS",
                {**_transitions, HarvestLeaseAcquired: _lease_without_condition},
            ),
        ),
        mix=_REPEATED_AND_SLOW,
    ),
    Mutant(
        "a job is given up although it has moved on",
        "a paid result is not dropped",
        (
            (
                state_machine,
                "_TRANSITIONS",
                {**_transitions, EndedByProxy: _apply_end_of_any_status},
            ),
        ),
        scenario="deadline",
    ),
    Mutant(
        "a check that was decided earlier ends the lease of a harvester",
        "one harvester at a time",
        (
            (state_machine, "_is_leased_to_another", lambda _job, _lease_until, _now: False),
            (
                state_machine,
                "_TRANSITIONS",
                {**_transitions, CheckScheduled: _schedule_check_of_any_status},
            ),
        ),
        scenario="sweep-webhook",
    ),
    Mutant(
        "a report about an earlier attempt counts for the present one",
        "state only moves forward",
        ((reports, "_match_attempt", lambda job, _change, _now: job),),
    ),
    Mutant(
        "the lease of a harvester outlives it",
        "every job ends",
        ((harvest, "truncate_to_milliseconds", lambda deadline: deadline + timedelta(days=30)),),
    ),
    Mutant(
        "queued jobs whose message is lost are not found",
        "every job ends",
        ((Reconciler, "_check_queued", _only_postpone),),
    ),
    Mutant(
        "predictions whose webhook is lost are not polled",
        "every job ends",
        ((Reconciler, "_check_running", _only_postpone),),
    ),
    Mutant(
        "a running prediction is polled after hours",
        "a paid result is not dropped",
        ((JobTimeouts, "calculate_next_check", _poll_after_hours),),
    ),
    Mutant(
        "a permanent failure is retried",
        "a permanent failure is reported",
        ((UpstreamPredictionWriter, "create", _create_again_if_rejected),),
    ),
    Mutant(
        "a transient failure ends the job",
        "a transient failure is retried",
        ((UpstreamPredictionWriter, "create", _create_once),),
    ),
    Mutant(
        "a cancel that fails is received again",
        "waiting uses up no receives",
        ((PredictionCanceler, "_cancel_prediction", _cancel_or_fail),),
        scenario="cancel-waits",
        script={},
    ),
    Mutant(
        "a waiting message is received again instead of being sent again",
        "waiting uses up no receives",
        ((Dispatcher, "_postpone", _postpone_by_failing),),
        scenario="create-waits",
        script={},
    ),
    Mutant(
        "records expire after minutes",
        "accepted is never lost",
        ((JobFactory, "calculate_expiry", _expire_soon),),
    ),
    Mutant(
        "a new attempt keeps the stream of the one before",
        "a stream is its own job's",
        ((transitions, "forget_prediction", _forget_all_but_the_stream),),
    ),
    Mutant(
        "what a failed or canceled stream has shown is not recorded",
        "the record is what was streamed",
        ((reports, "_keep_output", _end_without_output),),
    ),
    Mutant(
        "idempotency keys are not shared",
        "one job per idempotency key",
        ((DynamoIdempotencyStore, "claim", lambda _self, record, **_: record),),
    ),
    Mutant(
        "changes that could not be recorded are skipped",
        "no event is missed",
        ((Notifier, "notify", _notify_and_skip),),
    ),
    Mutant(
        "a later event does not wait for an earlier one",
        "deliveries are in order",
        ((deliverer, "find_blocking", lambda *_arguments, **_options: []),),
    ),
    Mutant(
        "an event is sent although a later one has succeeded",
        "deliveries are in order",
        (
            (LoadedDelivery, "is_overtaken", False),
            (DeliveryUpdater, "supersede_earlier", lambda *_arguments: None),
        ),
    ),
    Mutant(
        "a success is saved after its attempt is recorded",
        "delivered once after success",
        ((Deliverer, "_finish_delivered", _record_before_saving),),
    ),
    Mutant(
        "a write does not recognize its own effect",
        "a counted attempt is sent",
        ((delivery_store, "put_record", _put_without_write_id),),
        mix=_LOST_RESPONSES,
    ),
    Mutant(
        "a repeated write counts a failure again",
        "a failed request counts once",
        ((DynamoReceiverLimitStore, "_update", _update_without_condition),),
        mix=_LOST_RESPONSES,
    ),
    Mutant(
        "what an endpoint missed is searched for only once",
        "enabling sends what was missed",
        (
            (RequestBuilder, "is_endpoint_enabled", lambda _self, _delivery: False),
            (Notifier, "_restart_missed", lambda _self, _deliveries, _now: []),
            (RedeliveryService, "continue_missed_search", lambda _self, _tenant, _endpoint_id: None),
        ),
        scenario="endpoint",
    ),
    Mutant(
        "any call may end the probe of the breaker",
        "a probe decides alone",
        ((BreakerStore, "open", _open_unless_open),),
        scenario="breaker",
    ),
    Mutant(
        "a probe does not exclude another",
        "one probe at a time",
        ((BreakerStore, "claim_probe", _claim_probe_of_others),),
        scenario="breaker",
    ),
    Mutant(
        "a change of a key overwrites other changes",
        "changes of a key do not undo each other",
        ((DynamoKeyStore, "save", _save_key_without_condition),),
    ),
    Mutant(
        "a rotation invalidates all secrets but the last two",
        "a secret keeps its grace",
        ((keys, "rotate_key", _rotate_and_keep_one),),
    ),
    Mutant(
        "a change whose process has ended is not recorded",
        "every change has one record",
        ((StoredAuditLog, "close_abandoned", lambda _self: None),),
    ),
    Mutant(
        "a change is made without its intent",
        "every change is recorded",
        ((DynamoAuditStore, "begin", lambda _self, _intent: None),),
    ),
    Mutant(
        "a record does not ask whether another was appended",
        "the audit chain is whole",
        ((DynamoAuditStore, "_build_head_update", _move_head_without_condition),),
    ),
    Mutant(
        "a canceled prediction costs nothing",
        "money is exact",
        ((calculate, "_FREE_STATUSES", {**calculate._FREE_STATUSES, "canceled": "canceled"}),),  # noqa: SLF001 - what is broken
    ),
    Mutant(
        "the metrics of a canceled prediction are not kept",
        "money is exact",
        (
            (
                cancel_prediction,
                "build_end_change",
                lambda end, *_facts: replace(end, replicate_status="aborted"),
            ),
        ),
    ),
    Mutant(
        "a job that is counted is counted again",
        "usage is the sum of the jobs",
        ((DynamoUsageStore, "_build_mark", _mark_without_condition),),
    ),
    Mutant(
        "a reservation is made whatever is left",
        "a budget is not overspent",
        ((DynamoBudgetedJobs, "_build_reservation", _reserve_without_condition),),
    ),
    Mutant(
        "the end of a job does not release its reservation",
        "reservations are settled",
        ((usage_model, "settle_reservation", lambda _job: ()),),
    ),
    Mutant(
        "the reservation is written after the job",
        "reservations are settled",
        ((DynamoBudgetedJobs, "create", _create_and_reserve_later),),
    ),
    Mutant(
        "usage that could not be counted is skipped",
        "usage is the sum of the jobs",
        ((UsageCounter, "count", _count_and_skip),),
    ),
    Mutant(
        "one more slot than there are is acquired",
        "limits are not exceeded",
        ((DynamoSlotStore, "_try_acquire", _acquire_whatever_is_taken),),
        settings=_WITH_LIMITS,
    ),
    Mutant(
        "a late release frees the slot of a new attempt",
        "limits are not exceeded",
        ((DynamoSlotStore, "release", _release_any_revision),),
        settings=_WITH_LIMITS,
    ),
    Mutant(
        "slots are not freed, and the sweep does not notice",
        "no job waits for a free slot",
        (
            (releases, "_find_released", lambda *_arguments: ()),
            (SlotRepair, "_free_stale_slots", lambda *_arguments: None),
        ),
        settings=_WITH_LIMITS,
    ),
    Mutant(
        "no function lets a line advance that is joined after the last slot was freed",
        "no job waits for a free slot",
        (
            (SlotGate, "_hold", _hold_and_leave),
            (SlotRepair, "run", lambda *_arguments: 0),
        ),
        scenario="line",
    ),
    Mutant(
        "the search for a prediction does not know how a fallback names its input",
        "never paid twice",
        ((resolve_submission, "load_sent_input", lambda job, documents: documents.load(job.input)),),
        mix=_UNHEARD_CREATES,
        settings=_WITH_FALLBACKS,
    ),
    Mutant(
        "predictions in a tenant's account are read with the shared token",
        "a paid result is not dropped",
        ((PerAccount, "of", _read_with_the_shared_token),),
        mix=FaultMix(webhooks=Rates(lost=0.5)),
        settings=_WITH_ACCOUNTS,
    ),
    Mutant(
        "all webhooks are verified with the secret of the shared account",
        "genuine webhooks are accepted",
        ((AttemptReference, "account", property(lambda _self: SHARED_ACCOUNT)),),
        settings=_WITH_ACCOUNTS,
    ),
    Mutant(
        "a further attempt runs in the account that the tenant has by then",
        "a job runs in one account",
        ((Dispatcher, "_assign_account", _assign_present_account),),
        settings=_WITH_ACCOUNTS,
    ),
    Mutant(
        "a fallback does not wait until the earlier prediction is canceled",
        "never paid twice",
        (
            (
                state_machine,
                "_TRANSITIONS",
                {**_transitions, QueueTimeExceeded: _start_fallback_at_once},
            ),
        ),
        settings=_WITH_QUEUE_LIMITS,
    ),
    Mutant(
        "what was canceled for a fallback costs nothing, although it had started",
        "money is exact",
        ((calculate, "_add", lambda cost, *_canceled: cost),),
        mix=_LONG_RUNS,
        settings=_WITH_QUEUE_LIMITS,
    ),
    Mutant(
        "operators who retry the same job do not learn of each other's",
        "a job has one retry",
        ((RetryReservations, "claim", lambda _self, record, **_now: record),),
        settings=_WITH_RETRIES,
    ),
    Mutant(
        "deliveries are deleted while their change may still be sent",
        "delivered once after success",
        ((deletion_model, "_FIRST_PASS_DELAY", timedelta(0)),),
        scenario="deletion",
        script=_RECORDED_TWICE,
    ),
    Mutant(
        "a deletion does not wait for what comes late",
        "nothing is deleted early",
        ((Deletion, "calculate_next_pass", lambda *_arguments: None),),
        settings=_WITH_DELETIONS,
    ),
    Mutant(
        "the deliveries of a deleted job stay",
        "deleted is deleted",
        ((DynamoDeliveryRemover, "remove_job", lambda *_arguments: 0),),
        settings=_WITH_DELETIONS,
    ),
    Mutant(*PROGRESS_MUTANT, scenario="batch", script=PROGRESS_SCRIPT),
    *(Mutant(*mutant, settings=_WITH_BATCHES) for mutant in (*BATCH_MUTANTS, *RESULT_MUTANTS)),
    *(Mutant(*mutant, settings=_WITH_SEARCHES) for mutant in SEARCH_MUTANTS),
)
