"""Operators who have the files fetched again that a harvest has left, and what must hold for the files."""

from __future__ import annotations

import random
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from replicate_proxy.audit.model import AuditAction, build_job_target
from replicate_proxy.aws.dynamodb import from_item
from replicate_proxy.aws.job_records import job_from_record
from replicate_proxy.errors import ApiError, NotFoundError
from replicate_proxy.jobs.model import EndReason, JobStatus
from tools.simulation.audit_invariants import list_recorded
from tools.simulation.functions.bulk_operations import build_job_actions
from tools.simulation.functions.components import OUTPUTS_BASE_URL
from tools.simulation.observation import observe_writes
from tools.simulation.resources import BUCKET, Table
from tools.simulation.world import NoAnswerError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from replicate_proxy.jobs.model import Job
    from tools.simulation.invariants import Invariants, Item, JobKey
    from tools.simulation.world import World

_SEARCH_SECONDS = 60.0
_OPERATORS = 2
_MAX_DELAY_SECONDS = 3000.0
_KEPT = "a stored file stays"


class HarvestOperators:
    """Have the files fetched again of each job that has left some, two operators at a time."""

    def __init__(self, world: World, invariants: Invariants) -> None:
        self._world = world
        self._invariants = invariants
        self._asked: set[JobKey] = set()
        self._confirmed: set[JobKey] = set()
        invariants.at_rest.append(self._check)

    def start(self) -> None:
        """Schedule the search for jobs, until faults end."""
        self._world.scheduler.spawn("harvests", self._search)

    def _search(self) -> None:
        scheduler = self._world.scheduler
        while scheduler.now < self._world.plan.quiet_from:
            scheduler.sleep(_SEARCH_SECONDS)
            for job in self._world.truth.read_stored_jobs():
                key = (job.tenant, job.id)
                if job.status is not JobStatus.SUCCEEDED or key in self._asked:
                    continue
                self._asked.add(key)
                if job.end_reason is EndReason.HARVESTED and not self._has_left(job):
                    continue
                for number in range(_OPERATORS):
                    source = random.Random(f"{scheduler.seed}/{job.correlation_id}/harvest/{number}")
                    delay_seconds = source.choice((0.0, source.uniform(0, _MAX_DELAY_SECONDS)))
                    name = f"harvest-again-{job.id}-{number}"
                    scheduler.spawn(name, partial(self._harvest, key), delay_seconds=delay_seconds)

    def _has_left(self, job: Job) -> bool:
        return any(record["outcome"] == "not_stored" for record in self._world.truth.load(job.files) or ())

    def _harvest(self, key: JobKey) -> None:
        actions = build_job_actions(self._world.components)
        self._invariants.harvested_again.add(key)
        try:
            self._world.repeat(partial(self._world.call_admin, partial(actions.harvest, *key)))
        except ApiError as error:
            # Nothing is left, or the files are gone, or being fetched.
            if error.status != HTTPStatus.CONFLICT:
                raise
        except (NotFoundError, NoAnswerError):
            pass
        else:
            self._confirmed.add(key)

    def _check(self) -> None:
        recorded = list_recorded(self._world.aws, AuditAction.HARVEST_JOB)
        for key in self._confirmed:
            if build_job_target(*key) not in recorded:
                self._invariants.report("every change is recorded", f"the harvest of {key}")


class HarvestInvariants:
    """Watches the files of the jobs of one world; reports to `invariants`."""

    def __init__(self, world: World, invariants: Invariants) -> None:
        self._world = world
        self._invariants = invariants
        observe_writes(world.aws, self._check_write)
        invariants.at_rest.append(self._check)

    def _check_write(self, table: str, old: Item | None, new: Item | None) -> None:
        """What is stored of an ended job stays so, whoever fetches the rest."""
        if table != Table.JOBS or old is None or new is None or old["sk"]["S"] != "JOB":
            return
        if {old["status"]["S"], new["status"]["S"]} != {JobStatus.SUCCEEDED.value}:
            return
        if old.get("files") == new.get("files"):
            return
        before, after = (self._read_files(job_from_record(from_item(item))) for item in (old, new))
        if any(after.get(path) != url for path, url in before.items()):
            self._invariants.report(_KEPT, f"{new['id']['S']}: {before} became {after}")

    def _read_files(self, job: Job) -> Mapping[str, str]:
        """Return the URLs of the files that are stored, by path."""
        records = self._world.truth.load(job.files) or ()
        return {str(each["path"]): each["url"] for each in records if each["outcome"] != "not_stored"}

    def _check(self) -> None:
        for job in self._world.truth.read_stored_jobs():
            if job.status is JobStatus.SUCCEEDED:
                self._check_job(job)

    def _check_job(self, job: Job) -> None:
        """Each file that counts as stored is there, and the output leads to it."""
        objects = self._world.aws.s3.objects(BUCKET)
        output = str(self._world.truth.load(job.output))
        records: list[dict[str, Any]] = self._world.truth.load(job.files) or []
        for record in records:
            url = record["url"]
            key = url.removeprefix(f"{OUTPUTS_BASE_URL}/")
            is_stored = record["outcome"] != "not_stored"
            if url not in output or (is_stored and key not in objects):
                self._invariants.report(_KEPT, f"{job.id}: {record}, the output is {output}")
