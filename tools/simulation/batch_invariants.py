"""What must hold for large batches: each line has one outcome, and the counts and results are the truth.

The checks know the lines of each input file, and learn of everything else by the writes of the proxy.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from typing import TYPE_CHECKING, Any

from replicate_proxy.aws.batch_store import batch_from_record
from replicate_proxy.aws.dynamodb import from_item
from replicate_proxy.aws.job_records import job_from_record
from replicate_proxy.aws.usage_store import BATCH_COUNTERS
from replicate_proxy.batches.model import BatchCounts, BatchPhase
from replicate_proxy.webhooks.model import EventKind
from tools.simulation.batch_client import ExpectedLine, LineKind
from tools.simulation.observation import is_deletion_item, observe_writes, read_items
from tools.simulation.resources import BUCKET, Table
from tools.simulation.result_invariants import (
    RESULTS,
    BatchTruth,
    ResultInvariants,
    ResultWalk,
    load_document,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from replicate_proxy.jobs.model import Batch, Job
    from tools.simulation.application import Taken
    from tools.simulation.aws.s3_objects import StoredObject
    from tools.simulation.invariants import Invariants, Item, JobKey
    from tools.simulation.world import World

_ONE_JOB = "a line has one job"
_COUNTS = "the counts of a batch are the truth"
_LAST = "a batch is completed after its last job"
_ENDS = "every batch ends"
_CANCELED = "a canceled batch ends"
_REMOVED = "a batch is removed at the end of its retention"
_TOO_EARLY = "nothing of a batch is removed early"
_NO_EVENT = "no event is missed"
# Of virtual time, without faults, from the cancel on
MAX_CANCEL_SECONDS = 3600.0
# For the delivery of its event
MIN_KEPT_SECONDS = 900.0


class BatchInvariants:
    """Watches the batches of one world; reports to `invariants`. `budgeted_tenant` may be refused by line."""

    def __init__(self, world: World, invariants: Invariants, *, budgeted_tenant: str | None) -> None:
        self._world = world
        self._invariants = invariants
        self.report = invariants.report
        self.results = ResultInvariants(world, invariants.report, budgeted_tenant=budgeted_tenant)
        self._lines_by_file: dict[str, Sequence[ExpectedLine]] = {}
        self._deleted_files: set[str] = set()
        self._truths: dict[JobKey, BatchTruth] = {}
        self._accepted: dict[str, set[str]] = {}
        self._canceled: set[JobKey] = set()
        self._walks: list[ResultWalk] = []
        observe_writes(world.aws, self._check_write)
        world.aws.s3.observe(BUCKET, self._check_object)
        self._check_taken_by_others = world.applications.on_taken
        world.applications.on_taken = self._check_taken
        invariants.when_jobs_ended.append(self._check_ended)
        invariants.at_rest.append(self._check_at_rest)
        invariants.memories.append(self._describe_memory)

    # What callers do

    def expect_lines(self, file_id: str, lines: Sequence[ExpectedLine]) -> None:
        """Learn the lines of an input file."""
        self._lines_by_file[file_id] = lines

    def expect_deleted_file(self, file_id: str) -> None:
        """Learn that a file is about to be deleted: lines that are not read yet are missing."""
        self._deleted_files.add(file_id)

    def is_file_deleted(self, file_id: str) -> bool:
        return file_id in self._deleted_files

    def is_erased(self, tenant: str) -> bool:
        """Return whether the tenant is being erased: its batches end early, and nothing is left of them."""
        return tenant in self._invariants.erased_tenants

    def expect_cancel(self, batch: Batch) -> None:
        """Learn that the caller is about to cancel a batch."""
        key = (batch.tenant, batch.id)
        self._canceled.add(key)
        truth = self._truths[key]
        self._invariants.canceled_by_caller |= {(batch.tenant, job_id) for job_id in truth.job_ids.values()}

    def accept(self, batch: Batch) -> None:
        """Record that a caller was told that its batch exists."""
        large = batch.large
        ids = self._accepted.setdefault(large.input_file if large else "", set())
        ids.add(batch.id)
        if len(ids) > 1:
            self.report("one job per idempotency key", f"{batch.tenant} has the batches {sorted(ids)}")
        if (batch.tenant, batch.id) not in self._truths:
            self.report("accepted is never lost", f"batch {batch.id} is not stored")

    def begin_walk(self, batch: Batch) -> ResultWalk:
        """Return what watches a caller who reads the results of a batch."""
        walk = ResultWalk(self.results, self._truths[batch.tenant, batch.id])
        self._walks.append(walk)
        return walk

    def check_view(self, batch: Batch, view: Mapping[str, Any]) -> None:
        """Check what a caller reads of a batch."""
        truth = self._truths[batch.tenant, batch.id]
        counts = view["counts"]
        known = sum(counts.values()) - counts["unfinished"]
        if known > len(truth.lines) or (
            not view["total_is_estimated"] and known + counts["unfinished"] != view["total"]
        ):
            self.report(_COUNTS, f"{batch.id} shows {counts} of {view['total']}")

    def check_missing(self, batch: Batch) -> None:
        """Check that a batch that a caller does not find was removed."""
        if not self._truths[batch.tenant, batch.id].is_removed:
            self.report("accepted is never lost", f"batch {batch.id} is not found")

    def describe(self) -> Mapping[str, int]:
        """Return how many batches and lines there were, and what has become of them."""
        truths = self._truths.values()
        return Counter(
            {
                "batches": len(truths),
                "lines": sum(truth.large.lines for truth in truths),
                "jobs": sum(len(truth.job_ids) for truth in truths),
                "rejected": sum(truth.large.rejected for truth in truths),
                "skipped": sum(truth.large.skipped for truth in truths),
                "canceled": sum(truth.canceled_at is not None for truth in truths),
                "removed": sum(truth.is_removed for truth in truths),
            }
        )

    def _describe_memory(self) -> tuple[object, ...]:
        ends = [(truth.canceled_at, truth.completed_at) for truth in self._truths.values()]
        accepted = sorted((file_id, sorted(ids)) for file_id, ids in self._accepted.items())
        walks = [walk.describe() for walk in self._walks]
        return sorted(self._deleted_files), sorted(self._canceled), ends, accepted, walks

    # Records

    def _check_write(self, table: str, old: Item | None, new: Item | None) -> None:
        item = new or old or {}
        kind = item["sk"]["S"] if "sk" in item else ""
        if table == Table.JOBS and kind == "JOB" and new is not None and "batch_line" in new:
            self._check_job(new)
        elif table == Table.JOBS and kind == "BATCH" and "large" in item:
            self._check_batch(old, new)
        elif table == Table.USAGE and kind == "COUNTS" and new is not None:
            self._check_counts(from_item(new))

    def _check_job(self, new: Item) -> None:
        if is_deletion_item(new):
            return
        tenant, job_id, number = new["tenant"]["S"], new["id"]["S"], int(new["batch_line"]["N"])
        truth = self._truths[tenant, new["batch_id"]["S"]]
        if truth.job_ids.setdefault(number, job_id) != job_id:
            detail = f"line {number} of {truth.record.id} has {truth.job_ids[number]} and {job_id}"
            self.report(_ONE_JOB, detail)
        elif (tenant, job_id) not in self._invariants.accepted:
            self._check_new_job(truth, number, job_from_record(from_item(new)))

    def _check_new_job(self, truth: BatchTruth, number: int, job: Job) -> None:
        self._invariants.accept(job)
        if (job.tenant, truth.record.id) in self._canceled:
            self._invariants.canceled_by_caller.add((job.tenant, job.id))
        line = truth.lines[number - 1]
        is_right = load_document(self._world, job.input) == line.input and job.custom_id == line.custom_id
        if line.kind not in {LineKind.GOOD, LineKind.INVALID_INPUT} or not is_right:
            self.report(_ONE_JOB, f"{job.id} is the job of {line}")

    def _check_batch(self, old: Item | None, new: Item | None) -> None:
        if new is None:
            self._check_removal(batch_from_record(from_item(old or {})))
            return
        batch = batch_from_record(from_item(new))
        key, large = (batch.tenant, batch.id), batch.large
        if large is None:
            return
        truth = self._truths.get(key)
        if truth is None:
            truth = self._truths[key] = BatchTruth(self._lines_by_file[large.input_file], batch)
        before, truth.record = truth.large, batch
        self._check_cancel(truth)
        if large.lines > len(truth.lines) or large.created + large.rejected + large.skipped != large.lines:
            self.report(_COUNTS, f"{batch.id} has {large}")
        is_complete = large.phase in {BatchPhase.NOTIFYING, BatchPhase.COMPLETED}
        if is_complete and before.phase != large.phase and not self.is_erased(batch.tenant):
            self._check_completion(truth)

    def _check_cancel(self, truth: BatchTruth) -> None:
        """A cancel is not lost, and ends the batch in time."""
        large, now, name = truth.large, self._world.scheduler.now, truth.record.id
        if large.cancel_requested_at is None and truth.canceled_at is not None:
            self.report(_CANCELED, f"the cancel of {name} is lost")
        elif large.cancel_requested_at is not None and truth.canceled_at is None:
            truth.canceled_at = now
        if large.is_completed and truth.completed_at is None:
            truth.completed_at = now
            quiet_from = self._world.plan.quiet_from
            # The faults of a scenario are few, and do not stop.
            since = max(truth.canceled_at or now, quiet_from if quiet_from < math.inf else 0.0)
            if now - since > MAX_CANCEL_SECONDS:
                self.report(_CANCELED, f"{name} took {now - since:.0f} s")

    def _check_completion(self, truth: BatchTruth) -> None:
        """Check the counts when the results are complete, and that there are results."""
        batch, large = truth.record, truth.large
        jobs = self.results.find_jobs(truth)
        if running := [job.id for job in jobs.values() if not job.is_terminal]:
            self.report(_LAST, f"{batch.id} is {large.phase}, but {running} run")
        if large.lines != len(truth.lines) and large.input_file not in self._deleted_files:
            self.report(RESULTS, f"{batch.id} has {large.lines} lines of {len(truth.lines)}")
        if large.created != len(jobs) or self._read_counts(batch) != _count(jobs.values()):
            detail = (
                f"{batch.id} has {large.created} and {self._read_counts(batch)}, of {_count(jobs.values())}"
            )
            self.report(_COUNTS, detail)
        if _name_results(batch) not in self._world.aws.s3.objects(BUCKET):
            self.report(RESULTS, f"{batch.id} is {large.phase} without results")

    def _check_counts(self, record: Mapping[str, Any]) -> None:
        _, tenant, batch_id = record["pk"].split("#")
        truth = self._truths[tenant, batch_id]
        counts, created = _parse_counts(record), len(truth.job_ids)
        if counts.ended > created:
            self.report(_COUNTS, f"{batch_id} counts {counts.ended} jobs of {created}")

    # Results

    def _check_object(self, name: str, _old: StoredObject | None, new: StoredObject | None) -> None:
        if not name.startswith("batches/"):
            return
        _, tenant, batch_id = name.split("/")[:3]
        truth = self._truths[tenant, batch_id]
        if self.is_erased(tenant):
            return
        if new is None:
            self._check_may_remove(truth.record, name)
        elif name == _name_results(truth.record):
            self.results.check_file(truth, [json.loads(line) for line in new.body.splitlines()])

    # The end

    def _check_taken(self, taken: Taken) -> None:
        self._check_taken_by_others(taken)
        if taken.event != EventKind.BATCH_COMPLETED:
            return
        tenant = taken.url.removeprefix("https://").partition(".")[0]
        if self.is_erased(tenant):
            return
        truth = self._truths[tenant, str(taken.prediction["id"])]
        jobs, shown = self.results.find_jobs(truth), taken.prediction
        if any(not job.is_terminal for job in jobs.values()):
            self.report(_LAST, f"{taken.message_id} tells of {truth.record.id}, whose jobs run")
        counts, found = _count(jobs.values()), dict(_get_counts(shown))
        expected = {
            "unfinished": 0,
            "succeeded": counts.succeeded,
            "failed": counts.failed,
            "canceled": counts.canceled + truth.large.skipped,
            "rejected": truth.large.rejected,
        }
        if found != expected or shown["status"] != "completed":
            self.report(_COUNTS, f"{taken.message_id} has {found}, not {expected}")

    def _check_ended(self) -> None:
        for truth in self._truths.values():
            if truth.completed_at is None and not self.is_erased(truth.record.tenant):
                self.report(_ENDS, f"{truth.record.id} is {truth.large}")

    def _check_at_rest(self) -> None:
        stored = {
            (record["tenant"], record["job_id"])
            for record in read_items(self._world.aws, Table.DELIVERIES)
            if record["sk"].startswith("DELIVERY#")
        }
        now = self._world.clock.now()
        for (tenant, batch_id), truth in self._truths.items():
            if truth.is_removed or self.is_erased(tenant):
                continue
            if truth.large.delete_at <= now:
                self.report(_REMOVED, f"{batch_id} is stored")
            if truth.large.webhook and (tenant, batch_id) not in stored:
                self.report(_NO_EVENT, f"the end of {batch_id}")
        self._check_removed()

    # Removal

    def _check_removal(self, batch: Batch) -> None:
        truth = self._truths[batch.tenant, batch.id]
        truth.is_removed = True
        if self.is_erased(batch.tenant):
            return
        self._check_may_remove(batch, "its record")
        kept_seconds = self._world.scheduler.now - (truth.completed_at or 0.0)
        if kept_seconds < MIN_KEPT_SECONDS:
            self.report(_TOO_EARLY, f"{batch.id} was completed {kept_seconds:.0f} s ago")

    def _check_may_remove(self, batch: Batch, what: str) -> None:
        large = batch.large
        if large is None or not large.is_completed or large.delete_at > self._world.clock.now():
            self.report(_TOO_EARLY, f"{what} of {batch.id}, which is {large}")

    def _check_removed(self) -> None:
        """Check that nothing names a removed batch, besides the records of its jobs."""
        removed = {truth.record.id for truth in self._truths.values() if truth.is_removed}
        for table in (Table.JOBS, Table.DELIVERIES, Table.USAGE, Table.CONTROL):
            for record in read_items(self._world.aws, table):
                names = {str(record.get("reserved_id")), *f"{record['pk']}#{record.get('sk', '')}".split("#")}
                if left := names & removed:
                    self.report(_REMOVED, f"{table} has {record['pk']} of {left}")
        for name in self._world.aws.s3.objects(BUCKET):
            if removed & set(name.split("/")):
                self.report(_REMOVED, f"{name} is stored")

    # Ground truth

    def _read_counts(self, batch: Batch) -> BatchCounts:
        pk = f"BATCH#{batch.tenant}#{batch.id}"
        records = self._world.aws.dynamodb.tables[Table.USAGE].read_partition(pk)
        return _parse_counts(from_item(records[0])) if records else BatchCounts()


def _name_results(batch: Batch) -> str:
    return f"batches/{batch.tenant}/{batch.id}/results.jsonl"


def _parse_counts(record: Mapping[str, Any]) -> BatchCounts:
    return BatchCounts(**{name: record.get(name, 0) for name in BATCH_COUNTERS})


def _get_counts(view: Mapping[str, Any]) -> Mapping[str, int]:
    counts: Mapping[str, int] = view["counts"]
    return counts


def _count(jobs: Any) -> BatchCounts:
    """Return the counts of a batch with these jobs."""
    statuses = Counter(job.status.value for job in jobs)
    costs = [job.cost.micro_usd for job in jobs if job.cost is not None and job.cost.micro_usd is not None]
    return BatchCounts(
        succeeded=statuses["succeeded"],
        failed=statuses["failed"],
        canceled=statuses["canceled"],
        cost_micro_usd=sum(costs),
        unknown_costs=len(list(jobs)) - len(costs),
    )
