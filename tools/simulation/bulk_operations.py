"""Operators who cancel, retry or delete all jobs that match a filter, and what must hold for that."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any

from replicate_proxy.errors import ApiError, ProxyError
from replicate_proxy.jobs.job_filter import JobFilter
from replicate_proxy.jobs.model import JobStatus
from replicate_proxy.operations.bulk.model import BulkAction, BulkStatus
from tools.simulation.functions.bulk_operations import build_bulk_service
from tools.simulation.observation import observe_writes, read_items
from tools.simulation.resources import Table
from tools.simulation.retries import report_repeated_retries
from tools.simulation.scheduler import ProcessEndedError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from replicate_proxy.jobs.model import Job
    from tools.simulation.deletions import DeletionInvariants
    from tools.simulation.invariants import Invariants, Item, JobKey
    from tools.simulation.world import World

_ACTIONS = tuple(BulkAction)
_OPERATIONS = 6
_MIN_DELAY_SECONDS = 30.0
_MAX_ATTEMPTS = 8
# The count has changed, or nothing matches.
_CONFLICT = 409
_SCHEDULE = "schedule_started_at"
_ENDS = "a bulk operation ends"
_EACH_ONCE = "a bulk operation acts on each job once"
_OTHERS_KEPT = "a bulk operation acts on no other job"


class BulkOperators:
    """Start operations on the jobs of one tenant each, in the first half of the faults."""

    def __init__(self, world: World, *, tenants: Sequence[str], seconds: float) -> None:
        self._world = world
        self._tenants = tenants
        self._seconds = seconds

    def start(self) -> None:
        source = random.Random(f"{self._world.scheduler.seed}/bulk operations")
        for number in range(_OPERATIONS):
            delay_seconds = source.uniform(_MIN_DELAY_SECONDS, self._seconds)
            self._world.scheduler.spawn(f"bulk-{number}", self._operate, delay_seconds=delay_seconds)

    def _operate(self) -> None:
        """Confirm what matches, again if that has changed meanwhile."""
        source = self._world.scheduler.actor.random
        action = source.choice(_ACTIONS)
        job_filter = JobFilter(tenant=source.choice(self._tenants))
        service = build_bulk_service(self._world.components)

        def act() -> None:
            matches = service.preview(action, job_filter).matches
            service.start(action, job_filter, len(matches.entries))

        for _ in range(_MAX_ATTEMPTS):
            try:
                self._world.call_admin(act)
            except ApiError as error:
                if error.status != _CONFLICT:
                    raise
            except (ProxyError, ProcessEndedError):
                pass  # It may have been started: a repetition starts another one, unless nothing matches.
            else:
                return
            self._world.scheduler.sleep(source.expovariate(1 / 10))


class BulkInvariants:
    """Watches the operations of one world; reports to `invariants`."""

    def __init__(self, world: World, invariants: Invariants, deletions: DeletionInvariants) -> None:
        self._world = world
        self._invariants = invariants
        self._deletions = deletions
        self._lists: dict[str, list[JobKey]] = {}
        self._redelivered: set[JobKey] = set()
        observe_writes(world.aws, self._check_write)
        invariants.at_rest.append(self._check_at_rest)

    def _check_write(self, table: str, old: Item | None, new: Item | None) -> None:
        if old is not None and new is not None and old.get(_SCHEDULE) != new.get(_SCHEDULE):
            self._redelivered.add((new["tenant"]["S"], new["job_id"]["S"]))
        if table != Table.JOBS or new is None or old is not None:
            return
        kind = new["pk"]["S"]
        if kind.startswith("BULK#JOBS#"):
            keys = [(tenant, job_id) for tenant, job_id in json.loads(new["jobs"]["S"])]
            self._lists.setdefault(kind.removeprefix("BULK#JOBS#"), []).extend(keys)
        elif kind == "BULK":
            self._allow(json.loads(new["operation"]["S"]))

    def _allow(self, operation: Mapping[str, Any]) -> None:
        """Let the operation do what it is for, to the jobs in its list and to no other ones."""
        keys = self._lists[operation["list_id"]]
        others = [key for key in keys if key[0] != operation["filter"]["tenant"]]
        if others or len(set(keys)) != operation["matched"]:
            self._invariants.report(_OTHERS_KEPT, f"{operation['filter']}: {keys}")
        if operation["action"] == BulkAction.CANCEL:
            self._invariants.canceled_by_caller.update(keys)
        elif operation["action"] == BulkAction.HARVEST:
            self._invariants.harvested_again.update(keys)
        elif operation["action"] == BulkAction.DELETE:
            self._deletions.requested.update(keys)

    def _check_at_rest(self) -> None:
        jobs = {(job.tenant, job.id): job for job in self._world.truth.read_jobs()}
        for record in read_items(self._world.aws, Table.JOBS):
            if record["pk"] == "BULK":
                self._check_operation(json.loads(record["operation"]), jobs)
        report_repeated_retries(jobs.values(), self._invariants)

    def _check_operation(self, operation: Mapping[str, Any], jobs: Mapping[JobKey, Job]) -> None:
        """It has ended, and its counts are what became of its jobs."""
        if operation["status"] != BulkStatus.SUCCEEDED:
            self._invariants.report(_ENDS, str(operation))
            return
        counts = [operation[name] for name in ("done", "skipped", "failed")]
        has_effect = self._get_effect(BulkAction(operation["action"]))
        affected = sum(has_effect(jobs[key]) for key in self._lists[operation["list_id"]])
        if sum(counts) != operation["matched"] or operation["done"] > affected:
            self._invariants.report(_EACH_ONCE, f"{affected} were affected by {operation}")

    def _get_effect(self, action: BulkAction) -> Callable[[Job], bool]:
        """Return what tells that an operation may have acted on a job: it may have been another one, too."""
        if action is BulkAction.CANCEL:
            return lambda job: job.cancel_requested_at is not None or job.status is JobStatus.CANCELED
        if action is BulkAction.RETRY:
            return lambda job: job.retried_as is not None
        if action is BulkAction.REDELIVER:
            return lambda job: (job.tenant, job.id) in self._redelivered
        if action is BulkAction.HARVEST:
            return lambda job: job.status is JobStatus.SUCCEEDED
        return lambda job: (job.tenant, job.id) in self._world.truth.deleted_jobs
