"""Broken variants of erasures and bulk operations."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from replicate_proxy.aws import erasure_store
from replicate_proxy.aws.dynamodb import put_record
from replicate_proxy.aws.erasure_store import DynamoErasureStore
from replicate_proxy.aws.tenant_objects import S3TenantObjects
from replicate_proxy.operations.bulk.model import BulkOperation
from replicate_proxy.operations.erasure import model as erasure_model
from replicate_proxy.operations.erasure.model import Erasure, ErasureStatus
from replicate_proxy.operations.erasure.predictions import StoredTenantPredictions
from replicate_proxy.operations.job_search import JobSearch
from tools.simulation.decisions import Rates
from tools.simulation.faults import FaultMix
from tools.simulation.mutants.mutant import Mutant
from tools.simulation.run import RunSettings

if TYPE_CHECKING:
    from collections.abc import Callable

_WITH_ERASURES = RunSettings(jobs=25, key_requests=0, erasure_share=1.0)
_WITH_BATCHES = RunSettings(jobs=10, key_requests=0, erasure_share=1.0, batch_share=0.5)
_WITH_BULK_OPERATIONS = RunSettings(jobs=25, key_requests=0, bulk_share=1.0)
_REJECTED_WRITES = FaultMix(aws_writes=Rates(rejected=0.2))
_SLOW = FaultMix(aws_writes=Rates(pause_before=0.05), runs=Rates(long=0.3))


def _create_apart(self: Any, erasure: Erasure) -> Erasure:
    created = replace(erasure, revision=erasure.revision + 1)
    put_record(
        self._client,
        self._table,
        erasure_store._build_record(created),  # noqa: SLF001 - what is broken is private
        "create erasure",
        condition="attribute_not_exists(pk) OR is_completed = :yes",
        values={":yes": True},
    )
    self._mark(created)
    return created


def _end_after_first_pass(self: Any, now: Any) -> Erasure:
    ended = _end_pass(self, now)
    return replace(ended, status=ErasureStatus.COMPLETED, completed_at=now, due_at=now)


def _record_and_pass_over_one(self: Any, results: Any, *, tries: int = 0) -> BulkOperation:
    recorded = _record(self, results, tries=tries)
    return replace(recorded, position=recorded.position + 1)


def _list_of_all_tenants(self: Any, job_filter: Any, *, limit: int) -> Any:
    return _list_matches(self, replace(job_filter, tenant=None), limit=limit)


def _end_without_cancel(_self: Any, job: Any) -> Any:
    return job


def _read_objects_of_all_tenants(self: Any, tenant: str, cursor: Any, *, is_last_pass: bool) -> Any:
    folder = self._build_prefix(tenant).removesuffix(f"{tenant}/")
    place = S3TenantObjects(self._client, self._bucket, self._kind, lambda _: folder)
    return _read_objects(place, tenant, cursor, is_last_pass=is_last_pass)


_end_pass: Callable[..., Erasure] = Erasure.end_pass
_record: Callable[..., BulkOperation] = BulkOperation.record
_list_matches: Callable[..., Any] = JobSearch.list_matches
_read_objects: Callable[..., Any] = S3TenantObjects.read

OPERATION_MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        "an erasure is written apart from its mark",
        "an erasure ends",
        ((DynamoErasureStore, "create", _create_apart),),
        mix=_REJECTED_WRITES,
        settings=_WITH_ERASURES,
    ),
    Mutant(
        "an erasure looks only once, and does not wait for what was accepted before",
        "an erased tenant leaves nothing",
        (
            (erasure_model, "QUIET_PERIOD", timedelta(0)),
            (Erasure, "end_pass", _end_after_first_pass),
        ),
        settings=_WITH_ERASURES,
    ),
    Mutant(
        "an erasure does not cancel what runs",
        "an erasure cancels what runs",
        ((StoredTenantPredictions, "_end", _end_without_cancel),),
        mix=_SLOW,
        settings=_WITH_ERASURES,
    ),
    Mutant(
        "an erasure lets large batches go on",
        "an erasure cancels what runs",
        ((StoredTenantPredictions, "cancel_batches", lambda _self, _tenant: None),),
        settings=_WITH_BATCHES,
    ),
    Mutant(
        "an erasure removes the objects of all tenants",
        "an erasure removes nothing of others",
        ((S3TenantObjects, "read", _read_objects_of_all_tenants),),
        # Other checks notice it as well.
        settings=replace(_WITH_ERASURES, ignored=frozenset({"nothing is deleted early"})),
    ),
    Mutant(
        "a bulk operation passes over a job after each slice",
        "a bulk operation acts on each job once",
        ((BulkOperation, "record", _record_and_pass_over_one),),
        settings=_WITH_BULK_OPERATIONS,
    ),
    Mutant(
        "a bulk operation acts on the jobs of all tenants",
        "a bulk operation acts on no other job",
        ((JobSearch, "list_matches", _list_of_all_tenants),),
        settings=_WITH_BULK_OPERATIONS,
    ),
)
