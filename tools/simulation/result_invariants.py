"""What must hold for the results of large batches: each line once, in order, with the outcome of its job.

That applies to the file of results, and to its pages, which callers read while lines and outcomes are added.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from replicate_proxy.contracts.predictions import PREDICTION_STATUS
from tools.simulation.batch_client import ExpectedLine, LineKind
from tools.simulation.resources import BUCKET

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from replicate_proxy.batches.model import LargeBatch
    from replicate_proxy.jobs.model import Batch, Document, Job
    from tools.simulation.world import World

RESULTS = "the results have each line once"


@dataclass(slots=True)
class BatchTruth:
    """What is known about a batch: its lines, the ID of each line's job, and its stored record."""

    lines: Sequence[ExpectedLine]
    record: Batch
    job_ids: dict[int, str] = field(default_factory=dict)
    canceled_at: float | None = None
    completed_at: float | None = None
    is_removed: bool = False

    @property
    def large(self) -> LargeBatch:
        if self.record.large is None:
            raise AssertionError("it has no lines")
        return self.record.large

    def may_be_removed(self, now: Any) -> bool:
        """Return whether the batch has ended and is not kept any longer."""
        return self.is_removed or (self.large.is_completed and self.large.delete_at <= now)


class ResultInvariants:
    """Checks lines of results against the jobs; reports by `report(guarantee, detail)`."""

    def __init__(
        self, world: World, report: Callable[[str, str], None], *, budgeted_tenant: str | None
    ) -> None:
        self.world = world
        self.report = report
        self._budgeted_tenant = budgeted_tenant

    def find_jobs(self, truth: BatchTruth) -> Mapping[int, Job]:
        """Return the jobs of a batch by line, deleted ones as they were before that."""
        stored = {(job.tenant, job.id): job for job in self.world.truth.read_jobs()}
        return {
            number: stored[truth.record.tenant, job_id] for number, job_id in sorted(truth.job_ids.items())
        }

    def check_file(self, truth: BatchTruth, views: Sequence[Mapping[str, Any]]) -> None:
        """Check the lines of the whole file, which shows ended jobs only."""
        numbers = [view["line"] for view in views]
        if numbers != list(range(1, truth.large.lines + 1)):
            self.report(RESULTS, f"{truth.record.id} has {numbers}, of {truth.large.lines}")
            return
        jobs = self.find_jobs(truth)
        self.check_lines(truth, views, lambda view, job: job.is_terminal and self.is_outcome(view, job), jobs)

    def check_lines(
        self,
        truth: BatchTruth,
        views: Sequence[Mapping[str, Any]],
        is_right: Callable[[Mapping[str, Any], Job], bool],
        jobs: Mapping[int, Job],
    ) -> None:
        """Check each line: it shows its job, for which `is_right` decides, or says why it has none."""
        for view in views:
            line, job = truth.lines[view["line"] - 1], jobs.get(view["line"])
            if job is not None:
                is_line_right = view["id"] == job.id and is_right(view, job)
            else:
                is_line_right = self._is_error_right(truth, view, line)
            if not is_line_right or view["custom_id"] != line.custom_id:
                self.report(RESULTS, f"{truth.record.id}: {view} for {line}, job {job and job.id}")

    def is_outcome(self, view: Mapping[str, Any], job: Job) -> bool:
        """Return whether a line shows the job as it is now."""
        if self.is_deleted(job) and view["status"] == "deleted":
            return True
        if view["status"] != PREDICTION_STATUS[job.status]:
            return False
        return self.is_deleted(job) or view["output"] == load_document(self.world, job.output)

    def is_deleted(self, job: Job) -> bool:
        return (job.tenant, job.id) in self.world.truth.deleted_jobs

    def _is_error_right(self, truth: BatchTruth, view: Mapping[str, Any], line: ExpectedLine) -> bool:
        """Return whether a line without a job may be without one, and says why."""
        if view["id"] is not None or not view["error"] or view["output"] is not None:
            return False
        if view["status"] == "canceled":
            return truth.canceled_at is not None
        is_refused = truth.record.tenant == self._budgeted_tenant and "budget" in view["error"]
        return view["status"] == "rejected" and (line.kind is not LineKind.GOOD or is_refused)


def load_document(world: World, document: Document | None) -> Any:
    """Return a document of a job, as it is stored."""
    if document is None:
        return None
    if document.object_key is None:
        return json.loads(document.text or "null")
    return json.loads(world.aws.s3.objects(BUCKET)[document.object_key].body)


class ResultWalk:
    """One caller's way through the pages of results, each of which goes on where the last one ended."""

    def __init__(self, invariants: ResultInvariants, truth: BatchTruth) -> None:
        self._invariants = invariants
        self._truth = truth
        self._lines = 0
        self._ended: set[int] = set()
        self._url = ""

    def describe(self) -> tuple[object, ...]:
        """Return where the caller is, which no record says."""
        return self._url, self._lines, sorted(self._ended)

    def begin_page(self, url: str) -> None:
        """Learn that a page is about to be requested: it has to show what has ended before."""
        self._url = url
        jobs = self._invariants.find_jobs(self._truth)
        self._ended = {number for number, job in jobs.items() if job.is_terminal}

    def check_page(self, views: Sequence[Mapping[str, Any]]) -> None:
        """Check that the page has the next lines, with the jobs as they are or were a moment ago."""
        numbers = [view["line"] for view in views]
        first = self._lines + 1
        if numbers != list(range(first, first + len(numbers))):
            self._report(f"a page has the lines {numbers} after line {self._lines}")
            return
        self._lines += len(numbers)
        jobs = self._invariants.find_jobs(self._truth)
        self._invariants.check_lines(self._truth, views, self._is_present, jobs)

    def check_end(self) -> None:
        """Check that the last page was the last one."""
        large = self._truth.large
        if not large.is_expanded or self._lines != large.lines:
            self._report(f"the pages end after line {self._lines} of {large.lines} ({large.phase})")

    def check_file(self, name: str) -> None:
        """Check that the file that a caller is sent to is that of its batch."""
        batch = self._truth.record
        if name != f"batches/{batch.tenant}/{batch.id}/results.jsonl":
            self._report(f"the results are in {name}")
        elif name not in self._world.aws.s3.objects(BUCKET) and not self._may_be_missing():
            self._report("the file of results is missing")

    def check_missing(self) -> None:
        """Check that results that are not found were removed."""
        if not self._may_be_missing():
            self._report("the results are not found")

    def _is_present(self, view: Mapping[str, Any], job: Job) -> bool:
        """Return whether a line shows an outcome if there was one, else any state before that."""
        if view["line"] in self._ended or view["status"] in {"succeeded", "failed", "canceled", "deleted"}:
            return self._invariants.is_outcome(view, job)
        return view["status"] in {"starting", "processing"}

    def _may_be_missing(self) -> bool:
        return self._truth.may_be_removed(self._world.clock.now())

    @property
    def _world(self) -> World:
        return self._invariants.world

    def _report(self, detail: str) -> None:
        self._invariants.report(RESULTS, f"{self._truth.record.id}: {detail}")
