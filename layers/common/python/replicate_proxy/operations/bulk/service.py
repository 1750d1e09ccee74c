"""Start, list and cancel bulk operations. The worker does the work."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from replicate_proxy.audit.actor import get_actor
from replicate_proxy.audit.model import AuditAction
from replicate_proxy.background_worker import start_worker
from replicate_proxy.clock import truncate_to_milliseconds
from replicate_proxy.errors import (
    ApiError,
    ConflictError,
    NotFoundError,
    field_error,
)
from replicate_proxy.ids import generate_id
from replicate_proxy.jobs.model import ACTIVE_STATUSES
from replicate_proxy.operations.bulk.actions import APPLICABLE_STATUSES
from replicate_proxy.operations.bulk.model import (
    MAX_JOBS,
    BulkOperation,
    BulkStatus,
    JobKey,
    describe_filter,
    describe_operation,
)
from replicate_proxy.ports import IdempotencyRecord
from replicate_proxy.services.ingest import claim_idempotency_key, find_reserved_id

if TYPE_CHECKING:
    from collections.abc import Sequence

    from replicate_proxy.audit.log import AuditLog
    from replicate_proxy.background_worker import WorkerStarter
    from replicate_proxy.jobs.job_filter import JobFilter
    from replicate_proxy.operations.bulk.model import BulkAction
    from replicate_proxy.operations.bulk.ports import BulkStore
    from replicate_proxy.operations.job_search import JobMatches, JobSearch
    from replicate_proxy.ports import Clock, IdempotencyStore

# Owns the idempotency keys of operators. No tenant can have this name.
IDEMPOTENCY_OWNER = "OPERATORS"
_MAX_CONFLICTS = 5


@dataclass(frozen=True, slots=True)
class Preview:
    """What an operation would act on: its filter without open ends, and the jobs that match it now."""

    action: BulkAction
    filter: JobFilter
    matches: JobMatches


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """The key of a request, and a hash of what distinguishes the request from others."""

    key: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class StartResult:
    """The operation; `is_replay` if an earlier request with the same idempotency key started it."""

    operation: BulkOperation
    is_replay: bool = False


class BulkService:
    """Use cases of the routes and pages of bulk operations."""

    def __init__(
        self,
        *,
        store: BulkStore,
        search: JobSearch,
        idempotency: IdempotencyStore,
        starter: WorkerStarter,
        audit: AuditLog,
        clock: Clock,
    ) -> None:
        self._store = store
        self._search = search
        self._idempotency = idempotency
        self._starter = starter
        self._audit = audit
        self._clock = clock

    def preview(self, action: BulkAction, job_filter: JobFilter) -> Preview:
        """Return what matches now. Raises a 422 ApiError as `narrow` does."""
        job_filter = self.narrow(action, job_filter)
        return Preview(action, job_filter, self._search.list_matches(job_filter, limit=MAX_JOBS))

    def narrow(self, action: BulkAction, job_filter: JobFilter) -> JobFilter:
        """Return the filter without what the action cannot apply to.

        Only jobs that exist already match, and only in the states to which the action applies. Raises a 422
        ApiError if the filter is empty or cannot match.
        """
        if not describe_filter(job_filter):
            raise field_error("filter", "must have at least one criterion")
        applicable = APPLICABLE_STATUSES[action]
        statuses = job_filter.statuses & applicable if job_filter.statuses else applicable
        if not statuses:
            states = ", ".join(sorted(applicable))
            raise field_error("filter.status", f"{action} applies to jobs that are {states}")
        now = truncate_to_milliseconds(self._clock.now())
        return replace(
            job_filter, statuses=statuses, created_before=min(job_filter.created_before or now, now)
        )

    def start(
        self,
        action: BulkAction,
        job_filter: JobFilter,
        expected_count: int,
        *,
        idempotency_key: IdempotencyKey | None = None,
    ) -> StartResult:
        """Start an operation on the jobs that match now, if they are as many as confirmed.

        Raises a 409 ApiError if they are not, a 422 ApiError as `preview` does.
        """
        earlier = self._find_earlier(idempotency_key)
        if earlier is not None:
            return StartResult(earlier, is_replay=True)
        preview = self.preview(action, job_filter)
        _require_confirmed(preview, expected_count)
        operation_id = generate_id(self._clock.now())
        if idempotency_key is not None:
            # A request that was refused before leaves its key free.
            record = IdempotencyRecord(
                IDEMPOTENCY_OWNER, idempotency_key.key, idempotency_key.fingerprint, operation_id
            )
            operation_id = claim_idempotency_key(self._idempotency, record, self._clock)
        try:
            operation = self._create(preview, operation_id, expected_count)
        except ConflictError:
            # Another request with the key was faster.
            return StartResult(self.get(operation_id), is_replay=True)
        start_worker(self._starter)
        return StartResult(operation)

    def list_newest(self, *, before_id: str | None, limit: int) -> Sequence[BulkOperation]:
        """Return operations, newest first."""
        return self._store.list_newest(before_id=before_id, limit=limit)

    def get(self, operation_id: str) -> BulkOperation:
        """Return the operation. Raises NotFoundError."""
        operation = self._store.get(operation_id)
        if operation is None:
            raise NotFoundError("no such bulk operation")
        return operation

    def cancel(self, operation_id: str) -> BulkOperation:
        """Let the operation act on no further jobs. A repeated request changes nothing.

        Raises NotFoundError, or a 409 ApiError if the operation has ended by itself.
        """
        operation = self.get(operation_id)
        if operation.status is BulkStatus.CANCELED:
            return operation
        with self._audit.change(
            AuditAction.CANCEL_BULK_OPERATION,
            build_target(operation_id),
            tenant=operation.filter.tenant,
            before=describe_operation(operation),
        ) as change:
            operation = self._cancel(operation)
            change.after = describe_operation(operation)
        return operation

    def _find_earlier(self, key: IdempotencyKey | None) -> BulkOperation | None:
        """Return the operation that the same request has started before."""
        if key is None:
            return None
        operation_id = find_reserved_id(
            self._idempotency, IDEMPOTENCY_OWNER, key.key, key.fingerprint, self._clock
        )
        return self._store.get(operation_id) if operation_id else None

    def _create(self, preview: Preview, operation_id: str, expected_count: int) -> BulkOperation:
        actor = get_actor()
        keys = [JobKey(entry.tenant, entry.id) for entry in preview.matches.entries]
        operation = BulkOperation(
            id=operation_id,
            # Two requests with one idempotency key may find different jobs.
            list_id=generate_id(self._clock.now()),
            action=preview.action,
            filter=preview.filter,
            matched=len(keys),
            started_at=truncate_to_milliseconds(self._clock.now()),
            key_id=actor.key_id,
            source=actor.source,
            correlation_id=actor.correlation_id,
        )
        with self._audit.change(
            AuditAction.START_BULK_OPERATION,
            build_target(operation_id),
            tenant=preview.filter.tenant,
            parameters={"filter": describe_filter(preview.filter), "expected_count": expected_count},
        ) as change:
            operation = self._store.create(operation, keys)
            change.after = describe_operation(operation)
        return operation

    def _cancel(self, operation: BulkOperation) -> BulkOperation:
        for _ in range(_MAX_CONFLICTS):
            if operation.status is BulkStatus.CANCELED:
                return operation
            if not operation.is_running:
                raise ApiError(409, "Operation has ended", f"The operation has {operation.status} already")
            canceled = operation.end(BulkStatus.CANCELED, self._clock.now(), by=get_actor().key_id)
            try:
                return self._store.replace(canceled)
            except ConflictError:
                # The worker has saved its progress.
                operation = self.get(operation.id)
        raise ConflictError("the operation keeps changing")


def build_target(operation_id: str) -> str:
    """Return the target of audit records of an operation."""
    return f"bulk-operations/{operation_id}"


def _require_confirmed(preview: Preview, expected_count: int) -> None:
    """Raise an ApiError unless the jobs that match are as many as confirmed.

    Unfinished jobs end all the time: there may be fewer of them than confirmed, but never more.
    """
    count = len(preview.matches.entries)
    if not preview.matches.is_complete:
        raise field_error(
            "filter", f"matches more than {count} jobs, or too many to count: narrow it, for example by time"
        )
    may_shrink = preview.filter.statuses <= ACTIVE_STATUSES
    if count != expected_count and not (may_shrink and count < expected_count):
        raise ApiError(
            409,
            "Count has changed",
            f"{count} jobs match now, {expected_count} were confirmed. Confirm the new count",
            extensions={"matched": count},
        )
    if not count:
        raise ApiError(409, "Nothing matches", "No job matches the filter", extensions={"matched": 0})
