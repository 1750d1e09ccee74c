"""A tenant that an operator erases while its predictions run, and what must be left of it: nothing.

It is a tenant of its own, so that the other ones keep all of their checks.
"""

from __future__ import annotations

import json
import random
import re
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from replicate_proxy.api.admin.bodies import CreateKeyBody
from replicate_proxy.aws.batch_store import batch_from_record
from replicate_proxy.clock import parse_timestamp
from replicate_proxy.errors import ApiError, NotFoundError, ProxyError
from replicate_proxy.jobs.model import ACTIVE_STATUSES, JobStatus
from replicate_proxy.operations.erasure.model import ErasureStep
from replicate_proxy.operations.ports import Stage
from tools.simulation.callers import TENANTS, build_hook_url
from tools.simulation.endpoint_owners import build_endpoint_url
from tools.simulation.functions.deliveries import build_endpoints
from tools.simulation.functions.erasures import build_erasure_service
from tools.simulation.functions.operators import build_keys
from tools.simulation.observation import observe_writes, read_items
from tools.simulation.resources import BUCKET, Table
from tools.simulation.scheduler import ProcessEndedError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from tools.simulation.aws.s3_objects import StoredObject
    from tools.simulation.callers import Callers
    from tools.simulation.invariants import Invariants, Item
    from tools.simulation.world import World

ERASED_TENANT = "initech"

_STAGE = Stage("api", "prod")
_MIN_DELAY_SECONDS = 60.0
# How long callers go on, with their repetitions. The name is free 21 minutes later at the earliest.
_CREATES_SECONDS = 300.0
# A job that is created meanwhile may be in the index after the worker has read it.
_SETTLED = timedelta(seconds=60)
# The worker changes what the request has stored.
_REVISION_OF_REQUEST = 1
_RUNNING = ACTIVE_STATUSES - {JobStatus.HARVESTING}
_WORKER = "admin-work-"
_ENDS = "an erasure ends"
_NOTHING_LEFT = "an erased tenant leaves nothing"
_OTHERS_KEPT = "an erasure removes nothing of others"
_CANCELED = "an erasure cancels what runs"
# What stays, see docs/security.md: reports of erasures and bulk operations. Sums of usage stay as well.
_KEPT_PARTITIONS = ("ERASURES", "BULK")
_REMOVED_USAGE = ("BUDGET", "BATCH", "COUNTED")


class ErasureOperator:
    """Sets up the tenant, and erases it while other callers create jobs."""

    def __init__(self, world: World, invariants: Invariants, callers: Callers, *, seconds: float) -> None:
        self._world = world
        self._invariants = invariants
        self._callers = callers
        self._seconds = seconds
        self._source = random.Random(f"{world.scheduler.seed}/erasure")

    def start(self, *, jobs: int) -> float:
        """Schedule the callers of the tenant, who create so many jobs, and the operator.

        Return the seconds until the erasure begins.
        """
        scheduler = self._world.scheduler
        for url in (build_hook_url(ERASED_TENANT), build_endpoint_url(ERASED_TENANT)):
            self._world.applications.add_receiver(url, self._source)
        scheduler.spawn("erased-setup", self._set_up)
        erased_after = self._source.uniform(_MIN_DELAY_SECONDS, self._seconds)
        scheduler.spawn("eraser", self._erase, delay_seconds=erased_after)
        for number in range(jobs):
            delay_seconds = self._source.uniform(0, erased_after + _CREATES_SECONDS)
            run = partial(self._callers.run, ERASED_TENANT)
            scheduler.spawn(f"erased-caller-{number}", run, delay_seconds=delay_seconds)
        return erased_after

    def _set_up(self) -> None:
        """Give the tenant a key and an endpoint."""
        keys = build_keys(self._world.components)
        service = build_endpoints(self._world.components).service
        self._ask(lambda: keys.create(CreateKeyBody(tenant=ERASED_TENANT), _STAGE))
        self._ask(lambda: service.create(ERASED_TENANT, url=build_endpoint_url(ERASED_TENANT)))

    def _erase(self) -> None:
        """Ask for the erasure until it is confirmed. There is none if the tenant does not exist."""
        service = build_erasure_service(self._world.components)
        self._invariants.erased_tenants.add(ERASED_TENANT)
        start = partial(service.start, ERASED_TENANT, ERASED_TENANT, _STAGE)
        try:
            while not self._ask(start):
                self._world.scheduler.sleep(self._source.uniform(1, 60))
        except NotFoundError:
            self._invariants.erased_tenants.clear()

    def _ask(self, request: Callable[[], object]) -> bool:
        """Return whether the request was answered. Raises NotFoundError."""
        try:
            self._world.call_admin(request)
        except (ApiError, NotFoundError):
            raise
        except (ProxyError, ProcessEndedError):
            return False
        return True


class ErasureInvariants:
    """Watches what the worker of erasures writes in one world; reports to `invariants`."""

    def __init__(self, world: World, invariants: Invariants) -> None:
        self._world = world
        self._invariants = invariants
        observe_writes(world.aws, self._check_write)
        world.aws.s3.observe(BUCKET, self._check_object)
        invariants.at_rest.append(self._check_at_rest)

    def _check_write(self, table: str, old: Item | None, new: Item | None) -> None:
        if new is None:
            key = [value["S"] for name, value in (old or {}).items() if name in {"pk", "sk"}]
            self._check_removal(table, set("#".join(key).replace("tenant/", "").split("#")))
        elif table == Table.JOBS and new["pk"]["S"] == "ERASURES":
            self._check_progress(json.loads(new["erasure"]["S"]), revision=int(new["revision"]["N"]))

    def _check_object(self, name: str, _old: StoredObject | None, new: StoredObject | None) -> None:
        if new is None:
            self._check_removal(BUCKET, set(name.split("/")))

    def _check_removal(self, place: str, names: set[str]) -> None:
        """Report what the worker removes of other tenants. Their deletions are carried out by the sweep."""
        actor = self._world.scheduler.current
        if actor is not None and actor.process.name.startswith(_WORKER) and not names.isdisjoint(TENANTS):
            self._invariants.report(_OTHERS_KEPT, f"{place}: {sorted(names)}")

    def _check_progress(self, erasure: Mapping[str, Any], *, revision: int) -> None:
        """The worker first cancels the batches, and then each prediction that may still run."""
        started_at = parse_timestamp(erasure["started_at"])
        if revision > _REVISION_OF_REQUEST:
            self._check_batches(erasure["tenant"], started_at)
        has_looked = erasure["step"] == ErasureStep.PREDICTIONS and erasure["cursor"] is None
        if has_looked and erasure["unfinished"]:
            self._check_jobs(erasure["tenant"], started_at - _SETTLED)

    def _check_jobs(self, tenant: str, created_before: datetime) -> None:
        for job in self._world.truth.read_stored_jobs():
            is_left = job.status in _RUNNING and job.cancel_requested_at is None
            if job.tenant == tenant and is_left and job.created_at < created_before:
                self._invariants.report(_CANCELED, f"{job.id} is {job.status}")

    def _check_batches(self, tenant: str, created_before: datetime) -> None:
        for record in read_items(self._world.aws, Table.JOBS):
            if record.get("sk") != "BATCH":
                continue
            batch = batch_from_record(record)
            large = batch.large
            is_left = large is not None and not large.is_completed and large.cancel_requested_at is None
            if batch.tenant == tenant and is_left and batch.created_at < created_before:
                self._invariants.report(_CANCELED, f"batch {batch.id} goes on")

    def _check_at_rest(self) -> None:
        for tenant in self._invariants.erased_tenants:
            self._check_end(tenant)
            self._check_remains(tenant)

    def _check_end(self, tenant: str) -> None:
        completed = [
            record["sk"]
            for record in read_items(self._world.aws, Table.JOBS)
            if record["pk"] == "ERASURES" and record.get("is_completed")
        ]
        if tenant not in completed:
            self._invariants.report(_ENDS, tenant)

    def _check_remains(self, tenant: str) -> None:
        """Report each row and object that names the tenant, but for those that stay."""
        name = re.compile(rf"\b{tenant}\b")
        for table in Table:
            for record in read_items(self._world.aws, table):
                if not _stays(table, record) and name.search(json.dumps(record, default=str)):
                    self._invariants.report(_NOTHING_LEFT, f"{table} {record}")
        for key in self._world.aws.s3.objects(BUCKET):
            if name.search(key):
                self._invariants.report(_NOTHING_LEFT, key)


def _stays(table: Table, record: Mapping[str, Any]) -> bool:
    kind = record["pk"].partition("#")[0]
    return (
        table is Table.AUDIT
        or (table is Table.JOBS and kind in _KEPT_PARTITIONS)
        or (table is Table.USAGE and kind not in _REMOVED_USAGE)
    )
