"""Callers who delete ended jobs, and what must hold for deletions and for retention that has ended."""

from __future__ import annotations

import random
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from replicate_proxy.aws.deletion_records import deletion_from_record
from replicate_proxy.aws.dynamodb import from_item
from replicate_proxy.aws.job_records import job_from_record
from replicate_proxy.errors import NotFoundError
from tools.simulation.functions.sweep import build_deleter
from tools.simulation.observation import is_deletion_item, observe_writes, read_items
from tools.simulation.resources import BUCKET, Table
from tools.simulation.world import NoAnswerError

if TYPE_CHECKING:
    from replicate_proxy.jobs.model import Job
    from tools.simulation.aws.s3_objects import StoredObject
    from tools.simulation.invariants import Invariants, Item, JobKey
    from tools.simulation.world import World

_SEARCH_SECONDS = 60.0
_MAX_DELAY_SECONDS = 1800.0
_DELETED = "deleted is deleted"
_TOO_EARLY = "nothing is deleted early"


class DeletionOwners:
    """The callers of one world, who delete this share of the jobs soon after their end."""

    def __init__(self, world: World, invariants: DeletionInvariants, *, share: float) -> None:
        self._world = world
        self._invariants = invariants
        self._share = share
        self._seen: set[JobKey] = set()

    def start(self) -> None:
        """Schedule the search for jobs to delete, until faults end."""
        self._world.scheduler.spawn("deletions", self._search)

    def _search(self) -> None:
        scheduler = self._world.scheduler
        while scheduler.now < self._world.plan.quiet_from:
            scheduler.sleep(_SEARCH_SECONDS)
            for job in self._world.truth.read_stored_jobs():
                key = (job.tenant, job.id)
                if not job.is_terminal or key in self._seen:
                    continue
                self._seen.add(key)
                line = "" if job.batch_line is None else f"/{job.batch_line}"
                name = f"{job.correlation_id}/{job.created_at}{line}"
                source = random.Random(f"{scheduler.seed}/{name}/delete")
                if source.random() < self._share:
                    scheduler.spawn(
                        f"delete-{job.id}",
                        partial(self._delete, key),
                        delay_seconds=source.uniform(0, _MAX_DELAY_SECONDS),
                    )

    def _delete(self, key: JobKey) -> None:
        deleter = build_deleter(self._world.components)
        self._invariants.requested.add(key)
        request = partial(self._world.call_function, "delete", partial(deleter.delete, *key))
        try:
            # If it is not found, an earlier attempt took effect, or the retention has ended.
            with suppress(NotFoundError):
                self._world.repeat(request)
        except NoAnswerError:
            return
        self._invariants.expect_deleted(key)


class DeletionInvariants:
    """Watches the jobs and objects of one world; reports to `invariants`."""

    def __init__(self, world: World, invariants: Invariants) -> None:
        self.requested: set[JobKey] = set()
        self._world = world
        self._invariants = invariants
        self._answered: set[JobKey] = set()
        observe_writes(world.aws, self._check_write)
        world.aws.s3.observe(BUCKET, self._check_object)
        invariants.at_rest.append(self._check_at_rest)

    def expect_deleted(self, key: JobKey) -> None:
        """Record that the caller was told that the job is deleted: no read finds it from now on."""
        self._answered.add(key)
        if key not in self._world.truth.deleted_jobs:
            self._invariants.report(_DELETED, f"{key} is still there after the response")

    def _check_write(self, table: str, old: Item | None, new: Item | None) -> None:
        if table != Table.JOBS or (new or old or {})["sk"]["S"] != "JOB":
            return
        if old is not None and is_deletion_item(old):
            self._check_end_of_deletion(old, new)
        elif old is not None and is_deletion_item(new):
            self._check_mark(job_from_record(from_item(old)))

    def _check_mark(self, job: Job) -> None:
        key = (job.tenant, job.id)
        is_expired = job.delete_at is not None and job.delete_at <= self._world.clock.now()
        is_requested = key in self.requested or job.tenant in self._invariants.erased_tenants
        if not job.is_terminal or not (is_expired or is_requested):
            self._invariants.report(_TOO_EARLY, f"{key} is {job.status}, kept until {job.delete_at}")

    def _check_end_of_deletion(self, old: Item, new: Item | None) -> None:
        deletion = deletion_from_record(from_item(old))
        if new is None:
            if deletion.final_at > self._world.clock.now():
                self._invariants.report(_TOO_EARLY, f"the deletion of {deletion.id} is forgotten")
        elif not is_deletion_item(new):
            self._invariants.report(_DELETED, f"{deletion.tenant} {deletion.id} is back")

    def _check_object(self, name: str, _old: StoredObject | None, new: StoredObject | None) -> None:
        kind, tenant, job_id = name.split("/")[:3]
        if tenant in self._invariants.erased_tenants:
            return
        if kind in {"batches", "files"} or self._world.truth.is_large_batch(tenant, job_id):
            return
        if new is None and (tenant, job_id) not in self._world.truth.deleted_jobs:
            self._invariants.report(_TOO_EARLY, f"{name} was removed")

    def _check_at_rest(self) -> None:
        """Check that nothing is left, besides sums, the audit log, and batches that have other jobs."""
        for tenant, job_id in self._answered - self._world.truth.deleted_jobs.keys():
            self._invariants.report(_DELETED, f"{tenant} {job_id} is stored")
        deleted_ids = {job_id for _, job_id in self._world.truth.deleted_jobs}
        kept = {name for job in self._world.truth.deleted_jobs.values() for name in _list_predictions(job)}
        for table in (Table.JOBS, Table.DELIVERIES, Table.USAGE, Table.CONTROL):
            for record in read_items(self._world.aws, table):
                names = {str(record.get(name)) for name in ("reserved_id", "job_id")}
                names |= set(f"{record['pk']}#{record.get('sk', '')}".split("#"))
                names |= {holder.rpartition("/")[2] for holder in record.get("holders", ())}
                if record["pk"].startswith("PREDICTION#") and names.isdisjoint(kept):
                    # A claim of a prediction that the job did not keep: no record of the job names it.
                    continue
                if left := names & deleted_ids:
                    self._invariants.report(_DELETED, f"{table} has {record['pk']} of {left}")
        for name in self._world.aws.s3.objects(BUCKET):
            if deleted_ids & set(name.split("/")):
                self._invariants.report(_DELETED, f"{name} is stored")


def _list_predictions(job: Job) -> set[str | None]:
    return {job.replicate_id, *(past.replicate_id for past in job.past_attempts)}
