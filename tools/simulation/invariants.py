"""The guarantees, checked after every step: each violation stops the run.

The checks see what the code under test cannot: which job a prediction really belongs to, what a receiver
took, which processes are alive. docs/architecture.md states the guarantees.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from replicate_proxy.errors import ProxyError
from replicate_proxy.jobs.model import TERMINAL_STATUSES, JobStatus
from tools.simulation.observation import is_deletion_item, observe_objects, observe_writes
from tools.simulation.replicate import RETENTION_SECONDS
from tools.simulation.resources import BUCKET, Queue, Table
from tools.simulation.scheduler import ProcessCrash

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from replicate_proxy.jobs.model import Job
    from tools.simulation.aws import Message
    from tools.simulation.lambda_service import FailedReceive
    from tools.simulation.replicate import Prediction
    from tools.simulation.scheduler import Actor
    from tools.simulation.world import World

type Item = Mapping[str, Any]
type JobKey = tuple[str, str]

_TERMINAL = frozenset(status.value for status in TERMINAL_STATUSES)
# What a terminal job shows; its other attributes belong to the mechanism.
_SHOWN = frozenset(
    {"status", "output", "files", "logs", "error", "completed_at", "metrics", "replicate_id", "cost"}
)
_MAX_CLEAN_FAILURES = 3
_MANY_CRASHED_SWEEPS = 30  # of the 60 that run in an hour
# One for each attempt whose response is lost: JobTimeouts.max_resubmissions, and the first one.
_MAX_REJECTIONS = 6
# The status changes of jobs.state_machine, as pairs.
_FORWARD: Mapping[str, frozenset[str]] = {
    "queued": frozenset({"submitting", "submitted", "processing", "harvesting", *_TERMINAL}),
    "submitting": frozenset(
        {"queued", "submit_unknown", "submitted", "processing", "harvesting", "failed", "canceled"}
    ),
    "submit_unknown": frozenset({"queued", "submitted", "processing", "harvesting", "failed", "canceled"}),
    # Back to submit_unknown: a job that adopted the prediction of another one lets go of it.
    "submitted": frozenset({"queued", "submit_unknown", "processing", "harvesting", "failed", "canceled"}),
    "processing": frozenset({"queued", "submit_unknown", "harvesting", "failed", "canceled"}),
    "harvesting": frozenset({"submit_unknown", "succeeded"}),
}


@dataclass(frozen=True, slots=True)
class Violation:
    """A broken guarantee: its name, when, and what happened."""

    guarantee: str
    at: float
    detail: str


class Invariants:
    """Watches one world. `violation` is the first broken guarantee that is not among `ignored`.

    Other watchers add to `at_rest` what they check at the end of a run, to `when_jobs_ended` what they check
    when every job must have ended, and to `memories` what their checks depend on.
    """

    def __init__(self, world: World, ignored: frozenset[str] = frozenset()) -> None:
        self.violation: Violation | None = None
        self.accepted: dict[JobKey, float] = {}
        # Whose request was refused for its input at the first attempt.
        self.refused_callers: set[str] = set()
        # Whose requests were all refused since the operator has paused the tenant.
        self.paused_callers: set[str] = set()
        self.keyed_callers: set[str] = set()
        self.canceled_by_caller: set[JobKey] = set()
        # Whose erasure an operator has asked for.
        self.erased_tenants: set[str] = set()
        # Whose files an operator has asked for again.
        self.harvested_again: set[JobKey] = set()
        self.endpoints: dict[JobKey, bool] = {}
        self.transitions: set[tuple[str, str]] = set()
        self.when_jobs_ended: list[Callable[[], None]] = []
        self.at_rest: list[Callable[[], None]] = []
        self.memories: list[Callable[[], object]] = []
        self._world = world
        self._ignored = ignored
        self._predictions_by_job: dict[JobKey, list[Prediction]] = defaultdict(list)
        self._rejections: Counter[JobKey] = Counter()
        self._holders: dict[str, JobKey] = {}
        # Whose predictions a job has adopted
        self._adopted_from: defaultdict[JobKey, set[JobKey]] = defaultdict(set)
        # What equal jobs held of a job's predictions when it was allowed to be sent again for that reason.
        self._taken_before_resubmission: dict[JobKey, set[str]] = {}
        self._ended: set[JobKey] = set()
        self._documents_of_terminal_jobs: dict[str, JobKey] = {}
        self._harvesters: dict[JobKey, Actor] = {}
        self._clean_failures: dict[str, list[str]] = defaultdict(list)
        observe_writes(world.aws, self._check_write)
        observe_objects(world.aws, BUCKET, self._check_object)
        world.replicate.on_create = self._check_create
        world.replicate.on_reject = self._check_rejection
        world.on_checkpoint.append(self._check_harvesters)
        world.on_failed_receive.append(self._check_failed_receive)
        world.aws.sqs.on_receive = self._check_group
        world.scheduler.on_failure = self._check_failure

    def report(self, guarantee: str, detail: str) -> None:
        """Record a violation; the first one counts."""
        if self.violation is None and guarantee not in self._ignored:
            self.violation = Violation(guarantee, self._world.scheduler.now, detail)
            self._world.scheduler.stop()

    def accept(self, job: Job) -> None:
        """Record that a caller was told that its job exists."""
        self.accepted[job.tenant, job.id] = self._world.scheduler.now

    @property
    def is_violated(self) -> bool:
        return self.violation is not None

    def describe_memory(self) -> tuple[object, ...]:
        """Return what later checks depend on and the state of the world does not show."""
        return (
            sorted(self.accepted),
            sorted(self.canceled_by_caller),
            sorted(self._rejections.items()),
            sorted(map(len, self._clean_failures.values())),
            [describe() for describe in self.memories],
        )

    # Jobs

    def _check_write(self, table: str, old: Item | None, new: Item | None) -> None:
        if table == Table.JOBS:
            kind = (new or old or {})["sk"]["S"]
            # What becomes of deleted jobs: see `deletions`.
            if kind == "JOB" and not (is_deletion_item(old) or is_deletion_item(new)):
                self._check_job_write(old, new)

    def _check_job_write(self, old: Item | None, new: Item | None) -> None:
        if new is not None and "lease_until" not in new:
            key = (new["tenant"]["S"], new["id"]["S"])
            if self._world.scheduler.current in {self._harvesters.get(key), None}:
                # A harvester that pauses after this write, before its checkpoint, has given up its lease. So
                # has one whose write takes effect while it still waits for the response.
                self._harvesters.pop(key, None)
        if new is None:
            self._check_deletion(old or {})
            return
        key = (new["tenant"]["S"], new["id"]["S"])
        status = new["status"]["S"]
        if old is not None:
            self._check_transition(key, old, new)
            self._note_resubmission(key, old["status"]["S"], status)
        replicate_id = new.get("replicate_id", {}).get("S")
        old_id = old.get("replicate_id", {}).get("S") if old is not None else None
        if replicate_id != old_id:
            self._check_holder(key, old_id, replicate_id)
        if status in _TERMINAL and (old is None or old["status"]["S"] not in _TERMINAL):
            self._ended.add(key)
            for name in ("output", "files", "logs"):
                object_key = new.get(name, {}).get("M", {}).get("object_key", {}).get("S")
                if object_key:
                    self._documents_of_terminal_jobs[object_key] = key

    def _check_transition(self, key: JobKey, old: Item, new: Item) -> None:
        before, after = old["status"]["S"], new["status"]["S"]
        if before in _TERMINAL:
            kept = _SHOWN if key not in self.harvested_again else _SHOWN - {"output", "files"}
            changed = [name for name in sorted(kept) if old.get(name) != new.get(name)]
            if changed:
                self.report("a final job never changes", f"{key}: {', '.join(changed)}")
        elif before != after:
            self.transitions.add((before, after))
            if after not in _FORWARD[before]:
                self.report("state only moves forward", f"{key}: {before} to {after}")

    def _note_resubmission(self, key: JobKey, before: str, after: str) -> None:
        """Note what others held when the job was put back into the queue, until it leaves that unsent."""
        if (before, after) == ("submit_unknown", "queued"):
            self._taken_before_resubmission[key] = {
                prediction.id
                for prediction in self._predictions_by_job[key]
                if self._is_taken(prediction, {key})
            }
        elif before == "queued" and after not in {"queued", "submitting"}:
            self._taken_before_resubmission.pop(key, None)

    def _check_holder(self, key: JobKey, old_id: str | None, new_id: str | None) -> None:
        """A prediction is held by one job, unless the adopter has ended when its own job hears of it."""
        if old_id is not None and self._holders.get(old_id) == key:
            del self._holders[old_id]
        if new_id is None:
            return
        holder = self._holders.get(new_id)
        if holder is not None and holder != key and holder not in self._ended:
            self.report("a prediction is held by one job", f"{new_id}: {holder} and {key}")
        self._holders[new_id] = key
        owner = self._world.replicate.predictions[new_id].job
        if owner[0] != key[0]:
            self.report("tenants are isolated", f"{key} holds {new_id}, which was created for {owner}")
        if owner != key:
            self._adopted_from[key].add(owner)

    def _check_deletion(self, old: Item) -> None:
        if float(old["expires_at"]["N"]) > self._world.scheduler.now:
            self.report("accepted is never lost", f"{old['id']['S']} was deleted before its retention ended")

    def _check_object(self, object_key: str, old: bytes | None, new: bytes | None) -> None:
        key = self._documents_of_terminal_jobs.get(object_key)
        if key is not None and old != new and key not in self._world.truth.deleted_jobs:
            self.report("a final job never changes", f"{key}: {object_key} was overwritten")

    # Predictions

    def _check_create(self, prediction: Prediction) -> None:
        """A second prediction of a job is right only if the earlier ones failed, are taken, or will be.

        One that was taken when the job was put back into the queue may return to it by its callback while the
        job is sent again: the request cannot be recalled. At rest, no result may have been dropped.
        """
        earlier = self._predictions_by_job[prediction.job]
        taken_before = self._taken_before_resubmission.get(prediction.job, set())
        for other in earlier:
            if not (
                self._is_unpaid(other)
                or self._is_taken(other, {prediction.job})
                or self._is_left_to_another(prediction.job)
                or other.id in taken_before
            ):
                self.report(
                    "never paid twice",
                    f"{prediction.job} got {prediction.id} while {other.id} was {other.status}",
                )
        earlier.append(prediction)

    def find_holder(self, prediction: Prediction) -> JobKey:
        """Return the job that holds the prediction: its own, or one that has adopted it."""
        return self._holders.get(prediction.id, prediction.job)

    def find_recipient(self, prediction: Prediction) -> JobKey:
        """Return the job that the prediction is for: the one that holds it, or was to get it.

        What a job has left because it has adopted the prediction of another one is for that other one, which
        may have adopted in turn.
        """
        if prediction.id in self._holders:
            return self._holders[prediction.id]
        held = {holder: prediction_id for prediction_id, holder in self._holders.items()}
        recipient, passed = prediction.job, set[JobKey]()
        while recipient in held and recipient not in passed:
            passed.add(recipient)
            recipient = self._world.replicate.predictions[held[recipient]].job
        return recipient

    def _is_unpaid(self, prediction: Prediction) -> bool:
        return not prediction.is_live and prediction.status != "succeeded"

    def _is_taken(self, prediction: Prediction, without: set[JobKey]) -> bool:
        """Return whether an equal job took the prediction for its own, so that both are paid once.

        That job has no prediction of its own, or it was taken in the same way.
        """
        holder = self.find_holder(prediction)
        return holder not in without and all(
            self._is_unpaid(own) or self._is_taken(own, without | {holder})
            for own in self._predictions_by_job[holder]
        )

    def _is_left_to_another(self, key: JobKey, without: frozenset[JobKey] = frozenset()) -> bool:
        """Return whether the job has adopted the prediction of one that has yet to adopt what is left.

        That one may have adopted in turn. At rest, no result may have been dropped.
        """
        without |= {key}
        return any(
            (owner not in self._ended and owner not in self._holders.values())
            or self._is_left_to_another(owner, without)
            for owner in self._adopted_from[key] - without
        )

    def _check_rejection(self, key: JobKey) -> None:
        self._rejections[key] += 1
        if self._rejections[key] > _MAX_REJECTIONS:
            self.report("a permanent failure is reported", f"{key} was sent again after a rejection")

    # Processes

    def _check_harvesters(self, actor: Actor, checkpoint: str) -> None:
        if not checkpoint.startswith("harvest."):
            return
        key: JobKey = actor.process.notes["job"]
        if checkpoint in {"harvest.continuation_stored", "harvest.result_stored"}:
            if self._harvesters.get(key) is actor:
                del self._harvesters[key]
            return
        if checkpoint != "harvest.lease_acquired":
            return
        other = self._harvesters.get(key)
        if other is not None and other is not actor and not other.has_ended and not other.is_crashed:
            self.report("one harvester at a time", f"{key}: {other.name} and {actor.name}")
        self._harvesters[key] = actor

    def _check_failed_receive(self, failed: FailedReceive) -> None:
        """Waiting and expected situations must not use up the receives of a message."""
        if failed.error is not None and not isinstance(failed.error, (ProxyError, ProcessCrash)):
            self.report("no unexpected error", f"{failed.queue}: {failed.error!r}")
        if failed.is_clean and not self._world.plan.outages_active():
            reasons = self._clean_failures[failed.message_id]
            reasons.append(f"{type(failed.error).__name__}: {failed.error}")
            if len(reasons) >= _MAX_CLEAN_FAILURES:
                self.report("waiting uses up no receives", f"{failed.queue}: {failed.body} {reasons}")

    def _check_failure(self, actor: Actor, error: Exception) -> None:
        """No caller and no function ends by an exception that nothing handles."""
        self.report("no unexpected error", f"{actor.name}: {error!r}")

    def check_metrics(self, metrics: Mapping[str, int]) -> None:
        """Check that no function has counted an error that it did not expect."""
        for name in metrics:
            if name.endswith(" unexpected"):
                self.report("no unexpected error", f"{name}: {metrics[name]}")

    def _check_group(self, queue: str, message: Message) -> None:
        """What a function receives names its tenant, without which the queue is not fair."""
        if message.group is None and queue in self._world.event_sources.queue_sources:
            self.report("every message names its tenant", f"{queue}: {message.body}")

    # At rest

    def check_jobs_ended(self) -> None:
        """Check that every accepted job is there and terminal, some time after faults have stopped."""
        self._check_ended(self._read_jobs())
        for check in self.when_jobs_ended:
            check()

    def _read_jobs(self) -> dict[JobKey, Job]:
        return {(job.tenant, job.id): job for job in self._world.truth.read_jobs()}

    def _check_ended(self, jobs: Mapping[JobKey, Job]) -> None:
        for key in self.accepted:
            job = jobs.get(key)
            if job is None:
                self.report("accepted is never lost", f"{key} is not stored")
            elif not job.is_terminal:
                self.report("every job ends", f"{key} is {job.status} at revision {job.revision}")

    def check_at_rest(self) -> None:
        """Check what must hold once faults have stopped and everything has had its time."""
        jobs = self._read_jobs()
        self._check_ended(jobs)
        created = Counter(
            job.correlation_id for job in jobs.values() if job.batch_id is None and job.retried_from is None
        )
        for caller in self.keyed_callers:
            if created[caller] > 1:
                self.report("one job per idempotency key", f"{caller} has {created[caller]} jobs")
        self._check_predictions(jobs)
        for job in jobs.values():
            self._check_end(job)
        self._check_queues()
        for check in self.at_rest:
            check()

    def _check_end(self, job: Job) -> None:
        """A job succeeds by a prediction, and fails only for a reason that lies outside of the proxy."""
        key = (job.tenant, job.id)
        if job.status is JobStatus.SUCCEEDED and job.replicate_id is None:
            self.report("a success has a prediction", str(key))
        if job.status is not JobStatus.FAILED or self._rejections[key] or self._is_excused(job):
            return
        held = self._world.replicate.predictions.get(job.replicate_id or "")
        predictions = [*self._predictions_by_job[key], *([held] if held else [])]
        if not any(prediction.status == "failed" for prediction in predictions):
            self.report("a transient failure is retried", f"{key} has failed: {job.error}")

    def _check_predictions(self, jobs: Mapping[JobKey, Job]) -> None:
        """A prediction that succeeded gives a result, to the job that holds it or was to get it."""
        for prediction in self._world.replicate.predictions.values():
            is_held = prediction.id in self._holders
            if prediction.is_live and not is_held and not prediction.canceled_by_us:
                self.report("no prediction runs unattended", f"{prediction.id} of {prediction.job}")
            key = self.find_recipient(prediction)
            job = jobs.get(key)
            if prediction.status != "succeeded" or job is None or job.status is JobStatus.SUCCEEDED:
                continue
            is_canceled = key in self.canceled_by_caller or job.tenant in self.erased_tenants
            if not is_canceled and not self._is_excused(job):
                self.report(
                    "a paid result is not dropped",
                    f"{key} is {job.status} ({job.error}), {prediction.id} succeeded",
                )

    def _is_excused(self, job: Job) -> bool:
        """Return whether the loss is one of those that the documentation names.

        Replicate deletes a result after an hour; only an outage makes it last that long, of a service or of
        the sweep. A request of which nothing is known, not even by Replicate's list, is given up rather than
        paid twice.
        """
        error = job.error or ""
        if error.startswith("The output is lost"):
            return bool(self._world.plan.outages) or self._has_sweep_outage(job)
        return error.startswith("Whether Replicate accepted")

    def _has_sweep_outage(self, job: Job) -> bool:
        """Return whether most sweeps of the hour died in which the result could still be had."""
        prediction = self._world.replicate.predictions.get(job.replicate_id or "")
        ended = (prediction and prediction.ended) or 0.0
        crashes = sum(
            ended <= time <= ended + RETENTION_SECONDS for time in self._world.sweep_schedule.crashes
        )
        return crashes > _MANY_CRASHED_SWEEPS

    def _check_queues(self) -> None:
        for queue in Queue:
            count = self._world.queues.count(queue)
            if count:
                self.report("every message is handled", f"{count} left in {queue}")
